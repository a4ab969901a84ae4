//! The pictures with our buffers are those with buffers of wgpu's own, and they took fewer of them.

use std::sync::{Arc, Mutex};
use strandline_client_draw::{Painter, SIZE, Source};
use strandline_host_wgpu::adapter::{self, OpenError};
use strandline_host_wgpu::{Gpu, Transients, TransientsConfig};

/// Frames of a test.
const FRAMES: u32 = 24;

/// A device that really works. `None`, said aloud, where there is none; in CI that is a failure.
fn real() -> Option<Gpu> {
    match adapter::open(None) {
        Ok(gpu) => Some(gpu),
        Err(OpenError::NoAdapter) => {
            let ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false");
            assert!(!ci, "no GPU adapter: CI must have one (mesa-vulkan-drivers, libvulkan1)");
            eprintln!("skipped: no GPU adapter here");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Pixels that are not of egui's own grey.
fn coloured(picture: &[u8]) -> usize {
    picture.chunks_exact(4).filter(|pixel| pixel[0].abs_diff(pixel[1]) > 8).count()
}

#[test]
fn pictures_with_our_buffers_are_the_same() {
    let Some(gpu) = real() else { return };
    let misuse = Arc::new(Mutex::new(Vec::new()));
    let told = misuse.clone();
    gpu.on_misuse(move |misuse| told.lock().unwrap().push(misuse.to_string()));
    let transients = Transients::new(&gpu, TransientsConfig::default()).unwrap();
    let mut plain = Painter::new(&gpu, Source::Plain);
    let mut ours = Painter::new(&gpu, Source::Frames(transients.clone()));
    let mut before = Vec::new();
    for number in 0..FRAMES {
        let expected = plain.paint(number).unwrap();
        let picture = ours.paint(number).unwrap();
        assert_eq!(picture.len(), (SIZE[0] * SIZE[1] * 4) as usize);
        let differ = picture.iter().zip(&expected).filter(|(a, b)| a != b).count();
        assert_eq!(differ, 0, "bytes of frame {number} that differ");
        // A chart has 15,000 pixels, of which the bars cover a good part.
        assert!(coloured(&picture) > 2000, "frame {number} shows no chart");
        assert_ne!(picture, before, "frame {number} shows what the one before did");
        before = picture;
    }
    assert!(misuse.lock().unwrap().is_empty(), "{misuse:?}");
    assert_eq!(plain.asked(), ours.asked());

    let stats = transients.stats();
    assert_eq!(stats.reserved_bytes, 0, "every frame has ended");
    println!(
        "{} buffers were asked for: {} with create_buffer, {} made by Transients, {} bytes",
        ours.asked(),
        plain.asked(),
        stats.fresh,
        transients.existing_bytes()
    );
    // Storage has buffers of its own, as many as a frame has charts and of the sizes that there are; all else lies in slabs.
    assert!(stats.fresh * 8 < ours.asked(), "{stats:?}");
}
