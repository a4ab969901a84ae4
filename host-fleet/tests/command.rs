//! The command: it lends, says who is admitted, shows, plays a part of a trace, and keeps plain TCP on this machine.

mod support;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use strandline_core::fleet::Peer;
use strandline_core::pool::{Acquire, Pool, Request};
use strandline_host_fleet::member::MemberOptions;
use strandline_host_fleet::{FleetMember, Link};

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strandline-fleet"));
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// An owner that has begun to listen.
fn serve(arguments: &[&str], lending: &str) -> Killed {
    let mut serve = command(&[&["serve"], arguments].concat());
    let mut serve = serve.stdout(Stdio::piped()).spawn().map(Killed).unwrap();
    let mut lines = BufReader::new(serve.0.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), format!("lending {lending} at {}", arguments[0]));
    // So that it does not wait for somebody to read.
    std::thread::spawn(move || lines.count());
    serve
}

fn loopback() -> String {
    format!("tcp/127.0.0.1:{}", support::free_port())
}

fn join(link: Link, peer: u64) -> FleetMember {
    let mut options = MemberOptions::new("fleet", link, Peer(peer));
    options.patience = Duration::from_secs(60);
    FleetMember::join(options, None).unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn it_lends_and_shows_what_is_lent() {
    let (endpoint, folder) = (loopback(), support::Folder::new("show"));
    let _serve = serve(&[&endpoint, "--capacity", "8", "--slab", "4"], "8.00 MiB");
    let member = join(Link::new(&endpoint), 5);
    let pool = member.pool().unwrap();
    let block = pool.acquire(&Request::new(1 << 20)).unwrap().into_ready().unwrap();
    let status = run(&["status", &endpoint, "--json"]);
    assert!(status.status.success(), "{status:?}");
    let told = json_of(&status);
    let of_it = &told["members"][0];
    assert_eq!((&of_it["peer"], &of_it["state"]), (&json!(5), &json!("live")), "{told}");
    assert_eq!((&of_it["reservations"], &of_it["held"]), (&json!(1), &json!(1 << 20)), "{told}");
    assert_eq!((&told["in_doubt"], &told["oracle"]), (&json!(0), &Value::Null), "{told}");
    // For people, as text and as a page.
    let text = String::from_utf8(run(&["status", &endpoint]).stdout).unwrap();
    assert!(
        text.starts_with("fleet      1 member, 0 axes; 1.00 MiB lent, 0 B in doubt;"),
        "{text}"
    );
    assert!(text.contains("\noracle     does not watch\n") && text.contains("█████░"), "{text}");
    let page = folder.0.join("fleet.html");
    assert!(run(&["status", &endpoint, "--html", path(&page)]).status.success());
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("1.00 MiB lent"), "{page}");
    pool.cancel(block).unwrap();
    member.leave(Duration::from_secs(30)).unwrap();
    let told = json_of(&run(&["status", &endpoint, "--json"]));
    assert_eq!((&told["members"], &told["lent"]), (&json!([]), &json!(0)), "{told}");
}

#[test]
fn a_pool_is_lent_as_its_file_says() {
    let (endpoint, folder) = (loopback(), support::Folder::new("pool"));
    let file = folder.0.join("pool.toml");
    let text = "kind = \"fixed\"\ncapacity = \"4MiB\"\nslab = \"1MiB\"\nblock = \"64KiB\"\n\
                budget = \"128KiB\"\nlease-seconds = 5\n[budgets]\n7 = \"64KiB\"\n";
    std::fs::write(&file, text).unwrap();
    let _serve = serve(&[&endpoint, "--pool", path(&file)], "4.00 MiB");
    for (peer, many) in [(6, 2), (7, 1)] {
        let member = join(Link::new(&endpoint), peer);
        let pool = member.pool().unwrap();
        let large = pool.acquire(&Request::new(65 << 10));
        assert!(!matches!(large, Ok(Acquire::Ready { .. })), "larger than a block: {large:?}");
        let lent: Vec<_> = (0..many)
            .map(|_| pool.acquire(&Request::new(64 << 10)).unwrap().into_ready().unwrap())
            .collect();
        let more = pool.acquire(&Request::new(64 << 10)).unwrap();
        assert!(matches!(more, Acquire::OverBudget { .. }), "{peer}: {more:?}");
        lent.into_iter().for_each(|block| pool.cancel(block).unwrap());
        member.leave(Duration::from_secs(30)).unwrap();
    }
    // An unknown key, with its file and line.
    std::fs::write(&file, "capacity = \"4MiB\"\nslabs = 4\n").unwrap();
    let output = run(&["serve", &endpoint, "--pool", path(&file)]);
    let text = String::from_utf8(output.stderr).unwrap();
    let where_it_is = format!("{}:2: unknown field `slabs`", file.display());
    assert!(!output.status.success() && text.contains(&where_it_is), "{text}");
}

#[test]
fn who_is_admitted_joins_under_its_number_and_within_its_budget() {
    if !support::has_openssl() {
        println!("skipped: there is no openssl to make certificates with");
        return;
    }
    let folder = support::Folder::new("access");
    support::certificates(&folder.0, &["owner", "first", "second"]);
    let access = folder.0.join("access.toml");
    assert!(run(&["admit", path(&access), "second", "--number", "4"]).status.success());
    let listed = run(&["admit", path(&access), "first", "--budget", "64KiB"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed, "second speaks as 4\nfirst speaks as 1, 64.00 KiB at most\n");
    assert!(run(&["admit", path(&access), "second", "--remove"]).status.success());
    let twice = run(&["admit", path(&access), "other", "--number", "1"]);
    assert!(!twice.status.success(), "{twice:?}");

    let endpoint = format!("tls/localhost:{}", support::free_port());
    let file = |name: &str| folder.0.join(name);
    let (authority, certificate, key) = (file("ca.pem"), file("owner.pem"), file("owner.key"));
    let arguments = [
        &endpoint,
        "--capacity",
        "8",
        "--slab",
        "4",
        "--access",
        path(&access),
        "--authority",
        path(&authority),
        "--certificate",
        path(&certificate),
        "--key",
        path(&key),
    ];
    let _serve = serve(&arguments, "8.00 MiB");
    let link = |name: &str| Link::new(&endpoint).with_tls(support::tls(&folder.0, name));
    let member = join(link("first"), 1);
    let pool = member.pool().unwrap();
    let _block = pool.acquire(&Request::new(64 << 10)).unwrap().into_ready().unwrap();
    let more = pool.acquire(&Request::new(64 << 10)).unwrap();
    assert!(matches!(more, Acquire::OverBudget { .. }), "{more:?}");
    let mut options = MemberOptions::new("fleet", link("second"), Peer(4));
    options.patience = Duration::from_secs(3);
    assert!(FleetMember::join(options, None).is_err(), "it was removed from the list");
}

fn trace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces/vit_infer.csv.gz")
}

/// Two processes that ask at the same time, with slabs mapped, and a third by messages.
#[test]
fn members_that_play_streams_of_a_trace_are_watched_by_the_owners_oracle() {
    let (endpoint, folder) = (loopback(), support::Folder::new("play"));
    let slabs = folder.0.join("slabs");
    let capacity = ["--capacity", "2048", "--slab", "64"];
    let owner = [&[endpoint.as_str(), "--oracle", "--local", path(&slabs)], &capacity[..]].concat();
    let _serve = serve(&owner, "2.00 GiB");
    let trace = trace();
    let play = |peer: &str, streams: &str, more: &[&str]| {
        let arguments = ["replay", path(&trace), "--fleet", &endpoint, "--json", "--streams", "4"];
        let arguments = [&arguments[..], &["--peer", peer, "--play", streams], more].concat();
        command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let local = ["--local", path(&slabs)];
    let both = [play("1", "0,2", &local), play("2", "1", &local)];
    for (part, streams) in both.into_iter().zip([json!([0, 2]), json!([1])]) {
        let output = part.wait_with_output().unwrap();
        let told = json_of(&output);
        assert_eq!(output.status.code(), Some(0), "{told} {output:?}");
        assert_eq!(told["trace"]["streams_played"], streams, "{told}");
        assert!(told["member"]["requests"].as_u64().unwrap() > 0, "{told}");
        assert_eq!(told["member"]["corruptions"], 0, "{told}");
        assert!(told["fleet"]["oracle"]["watched"].as_u64().unwrap() > 0, "{told}");
    }
    let output = play("3", "3", &[]).wait_with_output().unwrap();
    let told = json_of(&output);
    assert_eq!(output.status.code(), Some(0), "{told} {output:?}");
    assert_eq!(told["member"]["corruptions"], 0, "{told}");
    // All are gone, and the oracle has seen all of them.
    let told = json_of(&run(&["status", &endpoint, "--json"]));
    assert_eq!((&told["lent"], &told["over"], &told["fenced"]), (&json!(0), &json!(3), &json!(0)));
    let oracle = &told["oracle"];
    assert_eq!((&oracle["overlaps"], &oracle["early_reuse"]), (&json!(0), &json!(0)), "{told}");
    let none =
        run(&["replay", path(&trace), "--fleet", &endpoint, "--play", "9", "--streams", "4"]);
    assert_eq!(none.status.code(), Some(2), "{none:?}");
}

#[test]
fn it_refuses_what_is_not_safe_and_says_what_to_do() {
    for (arguments, words) in [
        (&["serve", "tcp/0.0.0.0:1"][..], "plain TCP beyond this machine"),
        (&["serve", "tls/localhost:1"], "needs a certificate"),
        (&["serve", "tcp/127.0.0.1:1", "--admit", "a=1"], "by certificates"),
        (&["serve", "tcp/127.0.0.1:1", "--access", "x.toml"], "by certificates"),
        (&["serve", "tls/localhost:1", "--admit", "a"], "NAME=NUMBER"),
        (
            &["serve", "tcp/127.0.0.1:1", "--pool", "x.toml", "--capacity", "1"],
            "cannot be used with",
        ),
        (&["status", "udp/127.0.0.1:1"], "are what there is"),
    ] {
        let output = run(arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(words), "{arguments:?}: {text}");
    }
}
