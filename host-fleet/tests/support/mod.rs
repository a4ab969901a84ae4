//! What several test programs need: folders, ports, certificates, other processes.
#![allow(dead_code, reason = "each test program uses some of it")]

pub mod net;
pub mod relay;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use strandline_host_fleet::link::Tls;

/// A folder of one test alone, for sockets and certificates.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("strandline-{name}-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the other process is to be.
pub const ROLE: &str = "STRANDLINE_TEST_ROLE";

/// Another process: this test's own program, which runs its test `the_other_process`. Killed when dropped.
pub struct Other {
    pub child: Child,
    pub to: ChildStdin,
    pub from: BufReader<ChildStdout>,
}

impl Other {
    /// `command` runs this program, as [`program`] names it, somewhere.
    pub fn start(mut command: Command, role: &str) -> Self {
        let mut child = command
            .args(["--exact", "the_other_process", "--ignored", "--nocapture"])
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, to, from: BufReader::new(from) }
    }

    /// The next line that it says to us.
    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.from.read_line(&mut line).unwrap() > 0, "it has ended");
            if let Some((_, said)) = line.split_once("said ") {
                return said.trim().into();
            }
        }
    }

    /// The next line that begins with this word; the rest of it.
    pub fn hear_of(&mut self, word: &str) -> String {
        loop {
            let line = self.hear();
            assert_ne!(line, "wrong", "bytes of two at once");
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().into();
            }
        }
    }

    pub fn tell(&mut self, what: &str) {
        writeln!(self.to, "{what}").unwrap();
    }

    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This test's own program.
pub fn program() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// To whoever has started this process.
pub fn say(what: &str) {
    println!("\nsaid {what}");
}

/// From whoever has started this process.
pub fn listen() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line.trim().into()
}

/// A port of this machine that nobody listens at.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn has_openssl() -> bool {
    Command::new("openssl").arg("version").output().is_ok()
}

fn openssl(folder: &Path, arguments: &str) {
    let done = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .stderr(Stdio::null())
        .status();
    assert!(done.unwrap().success(), "openssl {arguments}");
}

/// An authority, and certificates for `localhost` under these names.
pub fn certificates(folder: &Path, names: &[&str]) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        folder,
        &format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"),
    );
    std::fs::write(folder.join("ext"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
        .unwrap();
    for name in names {
        openssl(folder, &format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        openssl(
            folder,
            &format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -days 2 -extfile ext"
            ),
        );
    }
}

pub fn tls(folder: &Path, name: &str) -> Tls {
    let file = |end: &str| folder.join(format!("{name}.{end}"));
    Tls { authority: folder.join("ca.pem"), certificate: file("pem"), key: file("key") }
}
