use super::*;
use crate::owner::Fence;
use crate::{Link, OwnerOptions};
use std::sync::Arc;
use strandline_core::Tracker;
use strandline_core::fleet::{Names, Peer};
use strandline_core::pool::{Pool, PoolHost, Request};
use strandline_core::slab::CpuSlabs;
use strandline_replay::size::Bytes;

/// A file of one test alone.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("strandline-config-{}-{name}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn options() -> OwnerOptions {
    OwnerOptions::new("test", Link::new("tcp/127.0.0.1:1"), Names { session: 0, machine: 0 })
}

fn pool(file: &PoolFile) -> Arc<dyn Pool> {
    let memory = Arc::new(CpuSlabs::new(file.capacity.0));
    file.build(PoolHost::new(memory, Arc::new(Tracker::new(8)))).unwrap()
}

#[test]
fn a_pool_is_what_its_file_says() {
    let file = File::new(
        "pool",
        "kind = \"tlsf\"\ncapacity = \"8MiB\"\nslab = \"2MiB\"\nbudget = \"3MiB\"\nfencing = \"lease\"\n\
         lease-seconds = 4\nmembers = 7\naxes = 9\n[budgets]\n5 = \"1MiB\"\n",
    );
    let file = PoolFile::read(&file.0).unwrap();
    let mut options = options();
    file.apply(&mut options);
    assert_eq!((options.fence, options.config.lease), (Fence::Lease, 4_000_000_000));
    let limits = options.config.limits;
    assert_eq!((limits.budget, limits.members, limits.axes), (3 << 20, 7, 9));
    assert_eq!(options.config.budgets, [(Peer(5), 1 << 20)].into());
    let lent = pool(&file);
    let _block = lent.acquire(&Request::new(4096)).unwrap().into_ready().unwrap();
    assert_eq!((lent.properties().kind, lent.stats().committed_bytes), ("tlsf", 2 << 20));
}

#[test]
fn every_kind_of_pool_lends() {
    for (text, kind) in [
        ("capacity = 8388608\n", "tlsf"),
        ("kind = \"fixed\"\ncapacity = \"8MiB\"\nblock = \"64KiB\"\n", "fixed-block"),
        ("kind = \"passthrough\"\ncapacity = \"8MiB\"\n", "passthrough"),
    ] {
        let file = File::new(kind, text);
        let lent = pool(&PoolFile::read(&file.0).unwrap());
        assert_eq!(lent.properties().kind, kind);
        let _block = lent.acquire(&Request::new(4096)).unwrap().into_ready().unwrap();
    }
}

#[test]
fn what_is_wrong_in_a_file_is_told_with_its_line() {
    for (name, text, line, words) in [
        ("unknown", "capacity = \"1MiB\"\n\nslabs = \"1MiB\"\n", Some(3), "unknown field `slabs`"),
        ("size", "# a pool\ncapacity = \"much\"\n", Some(2), "is not a size"),
        ("kind", "capacity = 1\nkind = \"heap\"\n", Some(2), "unknown variant `heap`"),
        ("syntax", "capacity = 1\nkind =\n", Some(2), ""),
        ("twice", "capacity = 1\ncapacity = 2\n", Some(2), "duplicate key"),
        ("missing", "kind = \"tlsf\"\n", None, "missing field `capacity`"),
        ("slab", "capacity = 1\nslab = 2\n", None, "more than `capacity`"),
        ("block", "capacity = 1\nkind = \"fixed\"\n", None, "needs it"),
        ("lease", "capacity = 1\nlease-seconds = 0\n", None, "at least 1"),
        ("peer", "capacity = 1\n[budgets]\nfirst = 1\n", None, "\"first\" is none"),
    ] {
        let file = File::new(name, text);
        let error = PoolFile::read(&file.0).unwrap_err();
        assert!(error.what.contains(words), "{name}: {error}");
        if let Some(line) = line {
            assert_eq!(error.line, Some(line), "{name}: {error}");
            let begin = format!("{}:{line}: ", file.0.display());
            assert!(error.to_string().starts_with(&begin), "{error}");
        }
    }
    let none = PoolFile::read(Path::new("/nonexistent/pool.toml")).unwrap_err();
    assert!(none.to_string().starts_with("/nonexistent/pool.toml: "), "{none}");
}

#[test]
fn who_is_admitted_is_written_and_read() {
    let file = File::new("access", "");
    let mut access = Access::default();
    assert_eq!(access.admit("first", None, Some(Bytes(1_500_000_001))), Ok(1));
    assert_eq!(access.admit("second", Some(7), None), Ok(7));
    assert_eq!(access.admit("third", None, None), Ok(2));
    // Again, with another number, and keeping its budget.
    assert_eq!(access.admit("first", Some(3), None), Ok(3));
    let taken = AccessError::Number { number: 7, of: "second".into() };
    assert_eq!(access.admit("third", Some(7), None), Err(taken));
    assert_eq!(access.admit("a\"b", None, None), Err(AccessError::Name("a\"b".into())));
    access.remove("third").unwrap();
    assert_eq!(access.remove("third"), Err(AccessError::Unknown("third".into())));
    access.write(&file.0).unwrap();
    assert_eq!(Access::read(&file.0).unwrap(), access);
    let mut options = options();
    access.apply(&mut options);
    let admitted: Vec<_> = options.admitted.unwrap();
    let admitted: Vec<_> = admitted.iter().map(|a| (a.common_name.as_str(), a.peer)).collect();
    assert_eq!(admitted, [("first", 3), ("second", 7)]);
    assert_eq!(options.config.budgets, [(Peer(3), 1_500_000_001)].into());
}

#[test]
fn a_list_that_admits_two_under_one_number_is_refused() {
    let entry = |name: &str, number| format!("[[peer]]\nname = \"{name}\"\nnumber = {number}\n");
    let file = File::new("twice-number", &(entry("a", 1) + &entry("b", 1)));
    assert!(Access::read(&file.0).unwrap_err().what.contains("has the number 1"));
    let file = File::new("twice-name", &(entry("a", 1) + &entry("a", 2)));
    assert!(Access::read(&file.0).unwrap_err().what.contains("twice"));
    let file = File::new("unknown-key", &(entry("a", 1) + "group = 1\n"));
    assert_eq!(Access::read(&file.0).unwrap_err().line, Some(4));
}
