//! A relay between members and an owner that stalls and cuts, which is what losing and delaying packets comes to over TCP: a packet that is lost is
//! sent again later, and everything behind it waits; many in a row end the connection.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What was done to the bytes.
#[derive(Debug, Default)]
pub struct Done {
    /// Pieces that went on at once, that were held up, and after which the connection was cut.
    pub passed: AtomicU64,
    pub stalled: AtomicU64,
    pub cut: AtomicU64,
}

/// See the [module](self). It ends when it is dropped.
pub struct Relay {
    pub port: u16,
    pub done: Arc<Done>,
    stop: Arc<AtomicBool>,
}

impl Relay {
    /// Every tenth piece is held up for 1 to 200 ms, and one in `cuts` ends its connection, half of it sent.
    pub fn start(to: u16, cuts: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (done, stop) = (Arc::<Done>::default(), Arc::<AtomicBool>::default());
        let (of_relay, stopped) = (done.clone(), stop.clone());
        std::thread::spawn(move || {
            for (number, from) in (1..).zip(listener.incoming().map_while(Result::ok)) {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(to) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                for (seed, from, to) in [(2 * number, &from, &to), (2 * number + 1, &to, &from)] {
                    let _ = (from.set_nodelay(true), to.set_nodelay(true));
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let done = of_relay.clone();
                    std::thread::spawn(move || pass(from, to, seed, cuts, &done));
                }
            }
        });
        Self { port, done, stop }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, seed: u64, cuts: u64, done: &Done) {
    let mut bytes = [0; 2048];
    let mut state = seed;
    // SplitMix64.
    let mut draw = |below: u64| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    };
    while let Ok(many @ 1..) = from.read(&mut bytes) {
        let mut part = &bytes[..many];
        let is_cut = draw(cuts) == 0;
        if is_cut {
            part = &part[..many / 2];
            done.cut.fetch_add(1, Ordering::Relaxed);
        } else if draw(10) == 0 {
            std::thread::sleep(Duration::from_millis(1 + draw(200)));
            done.stalled.fetch_add(1, Ordering::Relaxed);
        } else {
            done.passed.fetch_add(1, Ordering::Relaxed);
        }
        if to.write_all(part).is_err() || is_cut {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
