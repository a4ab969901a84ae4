//! The command: it lends, it shows, and it keeps plain TCP on this machine.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use strandline_core::fleet::Peer;
use strandline_core::pool::{Pool, Request};
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

#[test]
fn it_lends_and_shows_what_is_lent() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("tcp/127.0.0.1:{port}");
    let serve = command(&["serve", &endpoint, "--capacity", "8", "--slab", "4"]);
    let mut serve = { serve }.stdout(Stdio::piped()).spawn().map(Killed).unwrap();
    let mut lines = BufReader::new(serve.0.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), format!("lending 8 MiB at {endpoint}"));

    let member =
        FleetMember::join(MemberOptions::new("fleet", Link::new(&endpoint), Peer(5)), None)
            .unwrap();
    let pool = member.pool().unwrap();
    let block = pool.acquire(&Request::new(1 << 20)).unwrap().into_ready().unwrap();
    let status = run(&["status", &endpoint]);
    assert!(status.status.success(), "{status:?}");
    let told: Value = serde_json::from_slice(&status.stdout).unwrap();
    let of_it = &told["members"][0];
    assert_eq!((&of_it["peer"], &of_it["state"]), (&json!(5), &json!("live")), "{told}");
    assert_eq!((&of_it["reservations"], &of_it["held"]), (&json!(1), &json!(1 << 20)), "{told}");
    assert_eq!(told["in_doubt"], 0, "{told}");
    pool.cancel(block).unwrap();
    member.leave(Duration::from_secs(30)).unwrap();
    let told: Value = serde_json::from_slice(&run(&["status", &endpoint]).stdout).unwrap();
    assert_eq!((&told["members"], &told["lent"]), (&json!([]), &json!(0)), "{told}");
}

#[test]
fn it_refuses_what_is_not_safe_and_says_what_to_do() {
    for (arguments, words) in [
        (&["serve", "tcp/0.0.0.0:1"][..], "plain TCP beyond this machine"),
        (&["serve", "tls/localhost:1"], "needs a certificate"),
        (&["serve", "tcp/127.0.0.1:1", "--admit", "a=1"], "by certificates"),
        (&["serve", "tls/localhost:1", "--admit", "a"], "NAME=NUMBER"),
        (&["status", "udp/127.0.0.1:1"], "are what there is"),
    ] {
        let output = run(arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(words), "{arguments:?}: {text}");
    }
}
