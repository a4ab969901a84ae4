//! The fleet beside bare zenoh: the same two processes, the same kind of link, taken in turns.
//!
//! ```text
//!   this process                                       the other process
//!   owner (router) ◀── unix socket ──────────────────▶ member 2
//!     ▲── member 1                                       │ measures, and says what it found
//!   bare router    ◀── unix socket ──────────────────▶ bare session
//!     ▲── bare session
//! ```
//!
//! `cargo bench --manifest-path host-fleet/Cargo.toml` prints a table. Times are of one clock, which all processes of a machine have.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use strandline_core::fleet::message::{Ask, Message, OwnedDeath};
use strandline_core::fleet::{Names, OwnerEvent, Peer};
use strandline_core::pool::PoolHost;
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::{
    Acquire, Axis, Death, Domain, Frontier, Pool, Progress, Request, Reservation, Tracker,
};
use strandline_host_fleet::member::MemberOptions;
use strandline_host_fleet::pool::Batched;
use strandline_host_fleet::{FleetMember, FleetOwner, Link, OwnerOptions, RemotePool};
use strandline_host_native::MmapSlabProvider;
use zenoh::{Session, Wait};

type Failed = Box<dyn core::error::Error + Send + Sync>;
type Done<T = ()> = Result<T, Failed>;

const CAPACITY: u64 = 64 << 20;
const BLOCK: u64 = 4096;
const BATCH: usize = 256;
const FLOOD_AXES: usize = 64;
const BARE_NEWS: &str = "bare/news";
const BARE_ASK: &str = "bare/ask";

/// Nanoseconds of a clock that all processes of this machine have.
fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Half of the samples are below the first, 99 of 100 below the second.
fn quantiles(samples: &mut [u64]) -> (u64, u64) {
    samples.sort_unstable();
    let at = |share: usize| samples.get(samples.len() * share / 100).copied().unwrap_or(0);
    (at(50), at(99))
}

fn endpoint(folder: &Path, name: &str) -> String {
    format!("unixsock-stream/{}", folder.join(name).display())
}

/// zenoh without the fleet, at the endpoint of this name.
fn bare(folder: &Path, mode: &str, name: &str) -> Done<Session> {
    let mut config = zenoh::Config::default();
    let side = if mode == "router" { "listen/endpoints" } else { "connect/endpoints" };
    let endpoints = format!("[{:?}]", endpoint(folder, name));
    for (key, value) in [
        ("mode", format!("{mode:?}")),
        ("scouting/multicast/enabled", "false".into()),
        ("scouting/gossip/enabled", "false".into()),
        (side, endpoints),
    ] {
        config.insert_json5(key, &value).map_err(|error| format!("{key}: {error:?}"))?;
    }
    zenoh::open(config).wait()
}

fn join(folder: &Path, peer: u64) -> Done<FleetMember> {
    let link = Link::new(endpoint(folder, "fleet"));
    let mut options = MemberOptions::new("bench", link, Peer(peer));
    options.local = Some(folder.join("slabs"));
    options.patience = Duration::from_secs(60);
    Ok(FleetMember::join(options, None)?)
}

// ---------------------------------------------------------------------------------------------------------------------
// The other process

/// How old news was when it came, by when it was sent.
type Ages = Arc<Mutex<Vec<u64>>>;

fn note(ages: &Ages, sent: u64) {
    let age = now().saturating_sub(sent);
    ages.lock().unwrap_or_else(PoisonError::into_inner).push(age);
}

fn taken(ages: &Ages) -> Vec<u64> {
    core::mem::take(&mut *ages.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Notes the age of each epoch of an axis, whose epochs are times, when it is seen.
fn watch(tracker: &Tracker, axis: Axis, ages: &Ages) {
    let next = tracker.reached(axis) + 1;
    let (again, ages) = (tracker.clone(), ages.clone());
    let _ = tracker.wait(Frontier::from_entry(axis, next).as_ref(), move |reached| {
        if reached.is_ok() {
            note(&ages, again.reached(axis));
            watch(&again, axis, &ages);
        }
    });
}

/// What is seen of a flood: messages, and the age of the oldest advance that each message is the first to tell of.
#[derive(Default)]
struct Flood {
    messages: u64,
    last: std::collections::HashMap<Axis, u64>,
    ages: Vec<u64>,
}

impl Flood {
    fn take(&mut self, bytes: &[u8]) {
        let Ok(Message::Progress { reached, .. }) = Message::decode(bytes) else { return };
        self.messages += 1;
        let time = now();
        for entry in reached.0 {
            // The oldest that was not told yet came right after what was told last.
            if let Some(before) = self.last.insert(entry.axis, entry.epoch)
                && entry.epoch > before
                && before > 0
            {
                self.ages.push(time.saturating_sub(before));
            }
        }
    }
}

fn bare_query(session: &Session) -> Done {
    let replies = session.get(BARE_ASK).payload(vec![7_u8; 40]).wait()?;
    replies.recv().map_err(|_| "no reply")?.into_result().map_err(|_| "an error")?;
    Ok(())
}

fn block(answer: Acquire) -> Done<Reservation> {
    answer.into_ready().map_err(|answer| format!("{answer:?}").into())
}

fn pairs(pool: &RemotePool, session: &Session, rounds: usize) -> Done<String> {
    let (mut ours, mut both, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let begin = now();
        let reservation = block(pool.acquire(&Request::new(BLOCK))?)?;
        pool.release(reservation, Death::Idle).map_err(|_| "not released")?;
        ours.push(now() - begin);
        // So that the release is not in the way of what comes next.
        std::thread::sleep(Duration::from_micros(300));
        let begin = now();
        let taken = pool.batch(vec![Batched::Acquire(Ask::new(BLOCK))])?.pop();
        let reservation = block(taken.ok_or("no answer")??)?;
        pool.batch(vec![Batched::Release(reservation, OwnedDeath::Idle)])?;
        both.push(now() - begin);
        let begin = now();
        bare_query(session)?;
        bare_query(session)?;
        bare.push(now() - begin);
    }
    let all = [ours, both, bare].map(|mut samples| quantiles(&mut samples));
    Ok(all.map(|(p50, p99)| format!("{p50} {p99}")).join(" "))
}

/// Pairs a second, each message giving back and asking for [`BATCH`] blocks.
fn batches(pool: &RemotePool, time: Duration) -> Done<String> {
    let (begin, mut pairs) = (Instant::now(), 0);
    let mut held: Vec<Reservation> = Vec::new();
    while begin.elapsed() < time {
        let back = held.drain(..).map(|held| Batched::Release(held, OwnedDeath::Idle));
        let ask = (0..BATCH).map(|_| Batched::Acquire(Ask::new(BLOCK)));
        for answer in pool.batch(back.chain(ask).collect())? {
            held.push(block(answer?)?);
        }
        pairs += BATCH;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let back = held.drain(..).map(|held| Batched::Release(held, OwnedDeath::Idle));
    pool.batch(back.collect())?;
    Ok(format!("{:.0}", pairs as f64 / seconds))
}

fn other(folder: &Path) -> Done {
    let member = join(folder, 2)?;
    let pool = member.pool().ok_or("no pool")?;
    let session = bare(folder, "client", "bare")?;
    let (ours, bare_ages) = (Ages::default(), Ages::default());
    let heard = bare_ages.clone();
    let news = move |sample: zenoh::sample::Sample| {
        let bytes = sample.payload().to_bytes();
        if let Some(sent) = bytes.first_chunk() {
            note(&heard, u64::from_le_bytes(*sent));
        }
    };
    let _news = session.declare_subscriber(BARE_NEWS).callback(news).wait()?;
    // The member's progress as it is on the wire, by a session of its own.
    let wire = bare(folder, "client", "fleet")?;
    let flood = Arc::new(Mutex::new(Flood::default()));
    let of_wire = flood.clone();
    let progress = move |sample: zenoh::sample::Sample| {
        let bytes = sample.payload().to_bytes();
        of_wire.lock().unwrap_or_else(PoisonError::into_inner).take(&bytes);
    };
    let key = "strandline/bench/peer/1/progress";
    println!("ready");
    let mut subscriber = None;
    for line in std::io::stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let said = match words[..] {
            ["watch", axis] => {
                let axis = Axis::from_bits(axis.parse()?);
                while !member.tracker().is_known(axis) {
                    std::thread::yield_now();
                }
                watch(member.tracker(), axis, &ours);
                "watching".into()
            }
            ["seen"] => {
                let all = [taken(&ours), taken(&bare_ages)];
                all.map(|mut ages| {
                    let (p50, p99) = quantiles(&mut ages);
                    format!("{p50} {p99} {}", ages.len())
                })
                .join(" ")
            }
            ["pairs", rounds] => pairs(&pool, &session, rounds.parse()?)?,
            ["batches", ms] => batches(&pool, Duration::from_millis(ms.parse()?))?,
            ["flood"] => {
                let progress = progress.clone();
                subscriber = Some(wire.declare_subscriber(key).callback(progress).wait()?);
                *flood.lock().unwrap_or_else(PoisonError::into_inner) = Flood::default();
                "watching".into()
            }
            ["flooded"] => {
                let mut flood = flood.lock().unwrap_or_else(PoisonError::into_inner);
                let (p50, p99) = quantiles(&mut flood.ages);
                format!("{} {p50} {p99} {}", flood.messages, flood.ages.len())
            }
            _ => return Err(format!("told {line:?}").into()),
        };
        println!("{said}");
    }
    drop(subscriber);
    Ok(())
}

/// Holds all there is, until it is killed.
fn holder(folder: &Path) -> Done {
    let member = join(folder, 3)?;
    let pool = member.pool().ok_or("no pool")?;
    let all = block(pool.acquire(&Request::new(CAPACITY))?)?;
    pool.map(&all)?.write(0, &[1; 64])?;
    println!("ready");
    std::thread::sleep(Duration::from_secs(600));
    Ok(())
}

// ---------------------------------------------------------------------------------------------------------------------
// This process

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    fn new(name: &str) -> Done<Self> {
        let name = format!("strandline-bench-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

struct Other {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Other {
    fn start(folder: &Path, role: &str) -> Done<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(role)
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let to = child.stdin.take().ok_or("no pipe")?;
        let from = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        let mut other = Self { child, to, from };
        other.hear()?;
        Ok(other)
    }

    fn hear(&mut self) -> Done<Vec<f64>> {
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            return Err("the other process has ended".into());
        }
        Ok(line.split_whitespace().filter_map(|word| word.parse().ok()).collect())
    }

    fn ask(&mut self, what: &str) -> Done<Vec<f64>> {
        writeln!(self.to, "{what}")?;
        self.to.flush()?;
        self.hear()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn own(folder: &Path, lease: Duration, hasty: bool) -> Done<(FleetOwner, Arc<TlsfPool>)> {
    let memory = MmapSlabProvider::builder().shared(true).capacity(CAPACITY).build()?;
    let (memory, tracker) = (Arc::new(memory), Tracker::new(4096));
    let host = PoolHost::new(memory.clone(), Arc::new(tracker.clone()));
    let config = TlsfPoolConfig { growth: Growth::slabs_of(CAPACITY), ..Default::default() };
    let pool = Arc::new(TlsfPool::new(host, config)?);
    let link = Link::new(endpoint(folder, "fleet"));
    let mut options = OwnerOptions::new("bench", link, Names { session: 0, machine: 0 });
    options.config.lease = lease.as_nanos() as u64;
    options.config.limits.ops = 2 * BATCH;
    options.local = Some(folder.join("slabs"));
    options.hasty = hasty;
    Ok((FleetOwner::open(options, pool.clone(), tracker, Some(memory))?, pool))
}

fn row(what: &str, ours: &str, bare: &str, ratio: &str, goal: &str) {
    println!("| {what:<44} | {ours:>22} | {bare:>22} | {ratio:>13} | {goal:<26} |");
}

fn micro(p50: f64, p99: f64) -> String {
    format!("{:.0} / {:.0} us", p50 / 1e3, p99 / 1e3)
}

/// Sends advances and bare publications in turns, and has the other process say how old they were.
fn advances(other: &mut Other, member: &FleetMember, session: &Session, many: usize) -> Done {
    let axis = member.register(Domain::Host, 1_000)?;
    other.ask(&format!("watch {}", axis.to_bits()))?;
    let publisher = session.declare_publisher(BARE_NEWS).wait()?;
    let pause = Duration::from_micros(500);
    for number in 0..many + 200 {
        if number == 200 {
            // What came so far was to warm up.
            std::thread::sleep(Duration::from_millis(50));
            other.ask("seen")?;
        }
        member.advance(axis, now())?;
        std::thread::sleep(pause);
        let mut payload = [0; 40];
        payload[..8].copy_from_slice(&now().to_le_bytes());
        publisher.put(payload.as_slice()).wait()?;
        std::thread::sleep(pause);
    }
    std::thread::sleep(Duration::from_millis(100));
    let seen = other.ask("seen")?;
    let &[p50, p99, _, bare50, bare99, _] = &seen[..] else { return Err("no ages".into()) };
    let ratio = format!("{:.2} / {:.2}", p50 / bare50, p99 / bare99);
    row("advance seen by a peer", &micro(p50, p99), &micro(bare50, bare99), &ratio, "2 / 2");
    println!("  {} advances and {} publications came of {many}", seen[2], seen[5]);
    Ok(())
}

fn flood(other: &mut Other, member: &FleetMember, time: Duration) -> Done {
    let axes = (0..FLOOD_AXES).map(|ordinal| member.register(Domain::Host, ordinal as u64));
    let axes = axes.collect::<Result<Vec<_>, _>>()?;
    other.ask("flood")?;
    let (begin, mut advances) = (Instant::now(), 0_u64);
    while begin.elapsed() < time {
        // A million a second, a hundred at a time.
        let due = begin.elapsed().as_micros() as u64;
        if advances >= due {
            std::thread::sleep(Duration::from_micros(50));
            continue;
        }
        for _ in 0..100 {
            member.advance(axes[advances as usize % FLOOD_AXES], now())?;
            advances += 1;
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_millis(100));
    let flooded = other.ask("flooded")?;
    let &[messages, p50, p99, _] = &flooded[..] else { return Err("no flood".into()) };
    let rate = format!("{:.2} M advances/s", advances as f64 / seconds / 1e6);
    row("advances of 64 axes", &rate, "", "", "1 M/s");
    row("  messages", &format!("{:.0}/s", messages / seconds), "", "", "at most 20,000/s");
    row("  age of the oldest advance when told", &micro(p50, p99), "", "", "p99 at most 1 ms");
    Ok(())
}

/// From the end of a process to the use of its bytes by another.
fn failure(lease: Duration, hasty: bool, rounds: usize) -> Done<Vec<u64>> {
    let folder = Folder::new(if hasty { "hasty" } else { "lease" })?;
    let (owner, pool) = own(&folder.0, lease, hasty)?;
    let mut took = Vec::new();
    for _ in 0..rounds {
        let mut holder = Other::start(&folder.0, "--holder")?;
        let begin = Instant::now();
        holder.child.kill()?;
        loop {
            let over = |event: &OwnerEvent| matches!(event, OwnerEvent::Over { .. });
            if owner.events().iter().any(over) {
                break;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        let again = block(pool.acquire(&Request::new(CAPACITY))?)?;
        took.push(begin.elapsed().as_nanos() as u64);
        pool.release(again, Death::Idle).map_err(|_| "not released")?;
    }
    Ok(took)
}

fn measure() -> Done {
    let folder = Folder::new("all")?;
    let (_owner, _pool) = own(&folder.0, Duration::from_secs(10), true)?;
    let member = join(&folder.0, 1)?;
    let router = bare(&folder.0, "router", "bare")?;
    let answer = |query: zenoh::query::Query| {
        let _ = query.reply(query.key_expr().clone(), vec![7_u8; 40]).wait();
    };
    let _queryable = router.declare_queryable(BARE_ASK).callback(answer).wait()?;
    let session = bare(&folder.0, "client", "bare")?;
    let mut other = Other::start(&folder.0, "--other")?;
    row("", "fleet, p50 / p99", "bare zenoh, p50 / p99", "ratio", "goal");
    advances(&mut other, &member, &session, 1_000)?;
    let said = other.ask("pairs 400")?;
    let &[p50, p99, both50, both99, bare50, bare99] = &said[..] else { return Err("no".into()) };
    let bare = micro(bare50, bare99);
    let ratio = |a: f64, b: f64| format!("{:.2} / {:.2}", a / bare50, b / bare99);
    row("acquire + release", &micro(p50, p99), &bare, &ratio(p50, p99), "1.3");
    row("  both waited for", &micro(both50, both99), &bare, &ratio(both50, both99), "");
    let said = other.ask("batches 1000")?;
    row("pairs in batches of 256", &format!("{:.0}/s", said[0]), "", "", "500,000/s");
    flood(&mut other, &member, Duration::from_secs(2))?;
    drop(other);
    let lease = Duration::from_secs(1);
    for (what, hasty) in [("  by its lease of 1 s", false), ("  by its connection", true)] {
        let mut took = failure(lease, hasty, 3)?;
        let (p50, most) = (quantiles(&mut took).0, took.last().copied().unwrap_or(0));
        let ours = format!("{:.0}, at most {:.0} ms", p50 as f64 / 1e6, most as f64 / 1e6);
        let ratio = format!("{:.2}", most as f64 / lease.as_nanos() as f64);
        row(&format!("failed to fenced and reused{what}"), &ours, "", &ratio, "1.1 of the lease");
    }
    Ok(())
}

fn main() -> Done {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--other", folder] => other(Path::new(folder)),
        ["--holder", folder] => holder(Path::new(folder)),
        _ => measure(),
    }
}
