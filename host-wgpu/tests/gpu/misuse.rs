//! What a program must not do with a frame, and how it hears of that.

use crate::support::*;
use std::sync::{Arc, Mutex};
use strandline_host_wgpu::{
    BindingKind, Gpu, Misuse, SliceError, Transients, TransientsConfig, UsageClass,
};
use wgpu::{BufferDescriptor, BufferUsages};

fn told(gpu: &Gpu) -> Arc<Mutex<Vec<Misuse>>> {
    let list = Arc::new(Mutex::new(Vec::new()));
    let told = list.clone();
    gpu.on_misuse(move |misuse| told.lock().unwrap().push(misuse.clone()));
    list
}

fn storage(label: &'static str) -> BufferDescriptor<'static> {
    let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
    BufferDescriptor { label: Some(label), size: 512, usage, mapped_at_creation: false }
}

#[test]
fn a_slice_that_is_used_after_its_submission_is_told_of() {
    for gpu in both() {
        let told = told(&gpu);
        let transients = Transients::new(&gpu, TransientsConfig::default()).unwrap();
        let mut frame = transients.frame();
        let slice = frame.create_buffer(&storage("sums")).unwrap();
        let part = slice.slice(0, 256).unwrap();
        let uploaded = frame.upload(BufferUsages::VERTEX, &[1; 8]).unwrap();
        slice.write(gpu.queue(), &[1; 512]).unwrap();
        assert!(slice.buffer().size() >= 512);
        frame.submit([]).unwrap();
        // The next frame has those bytes.
        let mut next = transients.frame();
        let other = next.create_buffer(&storage("other")).unwrap();
        assert!(other.overlaps(&slice));
        assert!(told.lock().unwrap().is_empty(), "all was right so far");
        let line = line!() + 1;
        let _ = slice.buffer();
        match &told.lock().unwrap()[..] {
            [Misuse::AfterSubmission { label, at }] => {
                assert_eq!((label.as_str(), at.line(), at.file()), ("sums", line, file!()));
            }
            other => panic!("{other:?}"),
        }
        let ended = Err(SliceError::Ended);
        assert_eq!(slice.write(gpu.queue(), &[9; 4]), ended);
        assert_eq!(part.binding(BindingKind::Storage).map(drop), ended);
        assert_eq!(part.dynamic_offset(BindingKind::Storage, 0, 4).map(drop), ended);
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        assert!(next.copy(&mut encoder, &part, &other).is_err());
        let _ = uploaded.as_buffer_slice();
        assert_eq!(told.lock().unwrap().len(), 2);
        // Its own frame is not over.
        other.write(gpu.queue(), &[2; 512]).unwrap();
        next.submit([]).unwrap();
    }
}

/// A helper that records into an encoder, and forgets the frame. What it recorded is right all the same.
#[test]
fn a_frame_that_is_dropped_before_its_encoder_is_told_of_and_its_bytes_are_nobody_elses() {
    for gpu in both() {
        for shared in [false, true] {
            let told = told(&gpu);
            let transients = Transients::new(&gpu, TransientsConfig::default()).unwrap();
            let out = gpu.device().create_buffer(&BufferDescriptor {
                label: None,
                size: 1024,
                usage: BufferUsages::COPY_DST | BufferUsages::MAP_READ,
                mapped_at_creation: false,
            });
            let record = |value: u8| {
                let mut frame = transients.frame();
                let slice = match shared {
                    true => frame.create(UsageClass::Geometry, 512).unwrap(),
                    false => frame.create_buffer(&storage("lost")).unwrap(),
                };
                slice.write(gpu.queue(), &[value; 512]).unwrap();
                let mut encoder = gpu.device().create_command_encoder(&Default::default());
                let (buffer, offset, size) = slice.parts();
                let to = 512 * u64::from(value - 1);
                encoder.copy_buffer_to_buffer(buffer, offset, &out, to, size);
                encoder.finish()
            };
            let commands = [record(1), record(2)];
            assert_eq!(*told.lock().unwrap(), vec![Misuse::DroppedFrame { buffers: 1 }; 2]);
            gpu.queue().submit(commands);
            out.map_async(wgpu::MapMode::Read, .., |mapped| mapped.unwrap());
            gpu.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
            let found = out.get_mapped_range(..).unwrap().to_vec();
            assert_eq!((&found[..512], &found[512..]), (&[1; 512][..], &[2; 512][..]));
            // They are back once the program says so.
            transients.quiesce();
            transients.trim().unwrap();
            assert_eq!(transients.existing_bytes(), 0);
        }
    }
}

#[test]
fn uploads_without_an_encoder_are_told_of_and_discarding_is_no_misuse() {
    let gpu = noop();
    let told = told(&gpu);
    let transients = Transients::new(&gpu, TransientsConfig::default()).unwrap();
    let mut frame = transients.frame();
    frame.upload(BufferUsages::UNIFORM, &[1; 16]).unwrap();
    frame.discard();
    drop(transients.frame());
    assert!(told.lock().unwrap().is_empty());
    let mut frame = transients.frame();
    frame.upload(BufferUsages::UNIFORM, &[1; 16]).unwrap();
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    frame.flush(&mut encoder);
    frame.submitted(gpu.queue().submit([encoder.finish()])).unwrap();
    assert!(told.lock().unwrap().is_empty());
    let mut frame = transients.frame();
    frame.upload(BufferUsages::UNIFORM, &[1; 16]).unwrap();
    frame.submitted(gpu.queue().submit([])).unwrap();
    assert_eq!(*told.lock().unwrap(), [Misuse::UploadsLeft { bytes: 16 }]);
    assert_eq!(transients.stats().reserved_bytes, 0);
}

/// The program's callback stays the program's, and one device has one [`Gpu`].
#[test]
fn a_device_is_watched_once_and_its_callback_stays_the_programs() {
    for gpu in both() {
        let (device, queue) = (gpu.device().clone(), gpu.queue().clone());
        let (tell, called) = std::sync::mpsc::channel();
        device.set_device_lost_callback(move |_, _| tell.send(()).unwrap());
        let again = Gpu::new(device.clone(), queue.clone()).unwrap();
        assert!(again.is_same(&gpu));
        let (a, b) = (noop(), noop());
        assert!(!a.is_same(&b) && !a.is_same(&gpu));
        drop((gpu, again));
        // Watched anew once the last handle is gone.
        let anew = Gpu::new(device.clone(), queue).unwrap();
        let transients = Transients::new(&anew, TransientsConfig::default()).unwrap();
        transients.frame().submit([]).unwrap();
        device.destroy();
        device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        called.recv_timeout(PATIENCE).unwrap();
    }
}
