//! Compiling in a process of its own, which can be ended: [`CompileProcess`] on the host's side, [`serve`] on the other.
//!
//! ```text
//!   host                                           worker: the same program, run again
//!   ────                                           ──────
//!   judge(component)
//!   spawn ── stdin: order, component ────────────▶ limits itself: address space, processor time
//!     │                                            compiles
//!   machine code, at most so many bytes ◀─ stdout ─┘
//!     └─ deadline: kill
//! ```
//!
//! The compiler takes more than linear time for some inputs, and nothing in it can be interrupted. [`CompileLimits`] refuse what can
//! be judged beforehand; what cannot is bounded here, by the kernel.
//!
//! # Safety
//! Machine code is run as it comes. [`CompileProcess::new`] is `unsafe` for that: its caller vouches that the command runs
//! [`serve`] of the same build, and lets nothing else write to that process's standard output. The bytes then come from
//! [`Engine::precompile_component`](wasmtime::Engine::precompile_component) with the same settings, through a pipe that only
//! the two have; wasmtime refuses code of another version or of other settings besides. What remains is trust in the compiler
//! itself, which compiling in the host's own process takes too.

use super::bounds::CompileLimits;
use super::host::{Calls, GuestError, side_config};
use super::judge::judge;
use core::fmt;
use core::time::Duration;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Instant;
use wasmtime::Engine;
use wasmtime::component::Component;

/// What an answer begins with.
const CODE: u8 = 1;
const REFUSED: u8 = 2;

/// Bytes of an error's text.
const TEXT: u64 = 16 << 10;

/// How often a worker that has answered is asked whether it has ended.
const END_POLL: Duration = Duration::from_millis(1);

/// Compiles guests in a process of its own, which can be ended when it takes too long or too much memory: the limits that are checked
/// beforehand cannot foresee how long a compiler takes.
///
/// A program calls [`serve`] when it is started as the worker, before it does anything else, and makes the worker's command
/// otherwise:
///
/// ```no_run
/// use std::process::{Command, ExitCode};
/// use strandline_host_tenants::component::guest::{CompileProcess, GuestHost, serve_compile};
///
/// fn main() -> ExitCode {
///     if std::env::args().nth(1).as_deref() == Some("compile-guest") {
///         return serve_compile();
///     }
///     let worker = || {
///         let mut command = Command::new(std::env::current_exe()?);
///         command.arg("compile-guest");
///         Ok(command)
///     };
///     // SAFETY: this program, so started, does nothing but `serve_compile`.
///     let process = unsafe { CompileProcess::new(worker) };
///     let host = GuestHost::new().unwrap();
///     let program = host.compile_in(&process, &std::fs::read("guest.wasm").unwrap());
///     ExitCode::from(program.is_err() as u8)
/// }
/// ```
pub struct CompileProcess {
    worker: Box<dyn Fn() -> io::Result<Command> + Send + Sync>,
    /// What is refused before a process is started.
    pub limits: CompileLimits,
    /// How long it may take, however many processes it needs. The default is 30 s.
    pub timeout: Duration,
    /// Bytes of the process's address space. The default is 4 GiB.
    pub memory_bytes: u64,
    /// Bytes of machine code. The default is 512 MiB.
    pub code_bytes: u64,
}

impl CompileProcess {
    /// Compiles by the command that `worker` makes, each time anew. Its standard streams are set here.
    ///
    /// # Safety
    /// The command must run [`serve`] of the same build of this library, and nothing else in that process may write to
    /// its standard output: what comes out there is run as machine code.
    #[must_use]
    pub unsafe fn new(worker: impl Fn() -> io::Result<Command> + Send + Sync + 'static) -> Self {
        Self {
            worker: Box::new(worker),
            limits: CompileLimits::default(),
            timeout: Duration::from_secs(30),
            memory_bytes: 4 << 30,
            code_bytes: 512 << 20,
        }
    }

    /// Judges a component, and says when the compiler must be done.
    pub(super) fn begin(&self, bytes: &[u8]) -> Result<Option<Instant>, GuestError> {
        judge(bytes, &self.limits)?;
        Ok(Instant::now().checked_add(self.timeout))
    }

    /// Machine code for such calls.
    pub(super) fn compile(
        &self,
        calls: Calls,
        bytes: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Vec<u8>, GuestError> {
        let host =
            |what: &str, error: &dyn fmt::Display| GuestError::Host(format!("{what}: {error}"));
        let mut command = (self.worker)().map_err(|error| host("no compiler process", &error))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| host("no compiler process", &error))?;
        let seconds = self.timeout.as_secs().saturating_add(1);
        let order = Order { calls, memory_bytes: self.memory_bytes, seconds };
        let mut worker = Worker { child };
        let Some(answer) = worker.ask(&order, bytes, self.code_bytes, deadline)? else {
            return Err(GuestError::Compile(self.why(None)));
        };
        let status = worker.end(deadline);
        match answer.split_first() {
            Some((&CODE, code)) if code.len() as u64 > self.code_bytes => {
                let why = format!("its machine code is above {} bytes", self.code_bytes);
                Err(GuestError::Compile(why))
            }
            Some((&CODE, code)) if status.is_some_and(|status| status.success()) => {
                Ok(code.to_vec())
            }
            Some((&REFUSED, text)) => {
                let text = String::from_utf8_lossy(text).into_owned();
                Err(GuestError::Invalid(wasmtime::Error::msg(text)))
            }
            _ => Err(GuestError::Compile(self.why(status))),
        }
    }

    /// Loads the machine code that [`compile`](Self::compile) gave for an engine with such calls.
    pub(super) fn load(engine: &Engine, code: &[u8]) -> Result<Component, GuestError> {
        // SAFETY: it is what `serve` wrote, as whoever made this vouched; see the file's head.
        unsafe { Component::deserialize(engine, code) }.map_err(GuestError::Invalid)
    }

    /// What ended a worker that gave no answer.
    fn why(&self, status: Option<ExitStatus>) -> String {
        let Some(status) = status else {
            return format!("the compiler was not done within {:?}", self.timeout);
        };
        match status.signal() {
            Some(signal) if signal == Signal::XCPU.as_raw() => {
                format!("the compiler took more than {:?} of processor time", self.timeout)
            }
            // Rust's allocator aborts a program that gets no memory; the kernel kills one that takes too much.
            Some(_) => format!(
                "the compiler ended ({status}); it may have {} bytes of address space",
                self.memory_bytes
            ),
            None => format!("the compiler ended without an answer ({status})"),
        }
    }
}

impl fmt::Debug for CompileProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompileProcess")
            .field("limits", &self.limits)
            .field("timeout", &self.timeout)
            .field("memory_bytes", &self.memory_bytes)
            .finish_non_exhaustive()
    }
}

/// What a worker is told before the component's bytes.
#[derive(Debug, PartialEq, Eq)]
struct Order {
    calls: Calls,
    memory_bytes: u64,
    /// Of processor time.
    seconds: u64,
}

const ORDER: usize = 17;

impl Order {
    fn to_bytes(&self) -> [u8; ORDER] {
        let mut bytes = [0; ORDER];
        bytes[0] = u8::from(self.calls == Calls::Concurrent);
        bytes[1..9].copy_from_slice(&self.memory_bytes.to_le_bytes());
        bytes[9..].copy_from_slice(&self.seconds.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; ORDER]) -> Self {
        let number = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(eight)
        };
        let calls = if bytes[0] == 0 { Calls::Synchronous } else { Calls::Concurrent };
        Self { calls, memory_bytes: number(1), seconds: number(9) }
    }
}

/// A worker process. It does not outlive this.
struct Worker {
    child: Child,
}

impl Worker {
    /// All that the worker says, up to one byte more than it may; `None` when the deadline comes first.
    fn ask(
        &mut self,
        order: &Order,
        component: &[u8],
        most: u64,
        deadline: Option<Instant>,
    ) -> Result<Option<Vec<u8>>, GuestError> {
        let none = || GuestError::Host("a compiler process without pipes".to_owned());
        let mut stdin = self.child.stdin.take().ok_or_else(none)?;
        let stdout = self.child.stdout.take().ok_or_else(none)?;
        std::thread::scope(|scope| {
            // A worker that ended does not read: its status says why.
            scope.spawn(move || {
                let _ =
                    stdin.write_all(&order.to_bytes()).and_then(|()| stdin.write_all(component));
            });
            let (sender, receiver) = mpsc::sync_channel(1);
            scope.spawn(move || {
                let mut answer = Vec::new();
                let read = stdout.take(most.saturating_add(2)).read_to_end(&mut answer);
                // The pipe is closed here: a worker that would say more ends.
                let _ = sender.send(read.map(|_| answer));
            });
            let answer = match deadline {
                Some(end) => {
                    let left = end.saturating_duration_since(Instant::now());
                    receiver.recv_timeout(left)
                }
                None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match answer {
                Ok(Ok(answer)) => Ok(Some(answer)),
                // Both threads end with it: their pipes are closed.
                Err(RecvTimeoutError::Timeout) => {
                    self.kill();
                    Ok(None)
                }
                Ok(Err(error)) => {
                    self.kill();
                    Err(GuestError::Host(format!("the compiler process: {error}")))
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.kill();
                    Err(none())
                }
            }
        })
    }

    /// How it ended, once it has said all; `None` when it did not end by itself.
    fn end(&mut self, deadline: Option<Instant>) -> Option<ExitStatus> {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if deadline.is_some_and(|end| Instant::now() >= end) => {
                    self.kill();
                    return None;
                }
                // Its standard output is closed: it is about to end.
                Ok(None) => std::thread::sleep(END_POLL),
                Err(_) => return None,
            }
        }
    }

    fn kill(&mut self) {
        // It fails where the worker has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The worker's part of [`CompileProcess`]: reads a component from standard input, limits itself to what it is told, and writes
/// machine code to standard output. The program's `main` returns what this returns.
#[must_use]
pub fn serve() -> ExitCode {
    match serve_between(&mut io::stdin().lock(), &mut io::stdout().lock(), limit) {
        Ok(()) => ExitCode::SUCCESS,
        // The host sees that there is no answer.
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve_between(
    from: &mut impl Read,
    to: &mut impl Write,
    limit: impl FnOnce(&Order) -> io::Result<()>,
) -> io::Result<()> {
    let mut order = [0; ORDER];
    from.read_exact(&mut order)?;
    let order = Order::from_bytes(order);
    limit(&order)?;
    let mut component = Vec::new();
    from.read_to_end(&mut component)?;
    let compiled = Engine::new(&side_config(order.calls))
        .and_then(|engine| engine.precompile_component(&component));
    match compiled {
        Ok(code) => {
            to.write_all(&[CODE])?;
            to.write_all(&code)?;
        }
        Err(error) => {
            let mut text = format!("{error:#}").into_bytes();
            text.truncate(TEXT as usize);
            to.write_all(&[REFUSED])?;
            to.write_all(&text)?;
        }
    }
    to.flush()
}

/// Limits this process as it was told, and leaves no core behind when it is ended for that.
fn limit(order: &Order) -> io::Result<()> {
    // A second more before the kernel kills: until then the signal says that it was the time.
    let limits = [
        (Resource::As, order.memory_bytes, order.memory_bytes),
        (Resource::Cpu, order.seconds, order.seconds.saturating_add(1)),
        (Resource::Core, 0, 0),
    ];
    for (resource, current, maximum) in limits {
        // Never above what the process was started with.
        let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let (current, maximum) = (Some(current.min(most)), Some(maximum.min(most)));
        setrlimit(resource, Rlimit { current, maximum })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_arrives_as_it_was_sent() {
        for calls in [Calls::Synchronous, Calls::Concurrent] {
            let order = Order { calls, memory_bytes: u64::MAX - 5, seconds: 77 };
            assert_eq!(Order::from_bytes(order.to_bytes()), order);
        }
    }

    /// What the worker answers, and whether it limited itself before it read the component.
    fn served(component: &[u8]) -> Vec<u8> {
        let order = Order { calls: Calls::Synchronous, memory_bytes: 1, seconds: 2 };
        let input = [&order.to_bytes()[..], component].concat();
        let (mut answer, mut limited) = (Vec::new(), false);
        serve_between(&mut &input[..], &mut answer, |told| {
            limited = *told == order;
            Ok(())
        })
        .unwrap();
        assert!(limited);
        answer
    }

    #[test]
    fn a_worker_answers_with_code_or_with_why_not() {
        let code = served(&wat::parse_str("(component)").unwrap());
        assert_eq!(code[0], CODE);
        let engine = Engine::new(&side_config(Calls::Synchronous)).unwrap();
        // SAFETY: it was compiled right here.
        assert!(unsafe { Component::deserialize(&engine, &code[1..]) }.is_ok());
        let why = served(b"nonsense");
        assert_eq!(why[0], REFUSED);
        assert!(why.len() > 1);
    }

    fn shell(script: &'static str) -> CompileProcess {
        // SAFETY: none of these scripts answers with code.
        unsafe {
            CompileProcess::new(move || {
                let mut command = Command::new("sh");
                command.args(["-c", script]);
                Ok(command)
            })
        }
    }

    fn compile(process: &CompileProcess) -> GuestError {
        let bytes = wat::parse_str("(component)").unwrap();
        let deadline = process.begin(&bytes).unwrap();
        process.compile(Calls::Synchronous, &bytes, deadline).unwrap_err()
    }

    #[test]
    fn a_worker_that_does_not_end_is_ended() {
        // It reads nothing, says nothing, and its input is more than a pipe holds.
        let mut process = shell("exec sleep 1000");
        process.timeout = Duration::from_millis(100);
        let GuestError::Compile(why) = compile(&process) else { panic!() };
        assert!(why.contains("100ms"), "{why}");
        // It has said something, and goes on with its output closed.
        let mut process = shell("printf x; exec >&-; exec sleep 1000");
        process.timeout = Duration::from_millis(100);
        assert!(matches!(compile(&process), GuestError::Compile(_)));
    }

    #[test]
    fn a_worker_that_ends_without_an_answer_is_told_of() {
        for script in ["exit 3", "kill -9 $$", "kill -XCPU $$", "cat > /dev/null"] {
            let GuestError::Compile(why) = compile(&shell(script)) else { panic!("{script}") };
            assert!(why.contains("compiler"), "{script}: {why}");
        }
    }

    #[test]
    fn a_worker_that_says_too_much_is_cut_off() {
        let mut process = shell(r"printf '\001'; exec yes");
        process.code_bytes = 1 << 16;
        let GuestError::Compile(why) = compile(&process) else { panic!() };
        assert!(why.contains("65536"), "{why}");
    }

    #[test]
    fn what_it_cannot_compile_is_told() {
        let error = compile(&shell(r"printf '\002because'"));
        assert!(
            matches!(&error, GuestError::Invalid(why) if why.to_string() == "because"),
            "{error}"
        );
    }
}
