use super::*;

/// A trace of four steps after some weights. Each step makes a block that the next one frees, and the first one makes one that stays.
fn text() -> String {
    let mut text = String::from("time_ns,action,id,size,stream,thread\n");
    let mut id = 0;
    let say = |text: &mut String, action: &str, id: u64, size: u64| {
        text.push_str(&format!("0,{action},{id},{size},0,0\n"));
    };
    let mut alloc = |text: &mut String, size| {
        id += 1;
        say(text, "alloc", id, size);
        (id, size)
    };
    let free = |text: &mut String, (id, size): (u64, u64)| {
        text.push_str(&format!("0,free,{id},{size},0,0\n"));
    };
    let weights = [5000, 6000].map(|size| alloc(&mut text, size));
    let mut carried = alloc(&mut text, 640);
    let mut kept = Vec::new();
    for step in 0..4 {
        let first = (0..10).map(|n| alloc(&mut text, 100 + n)).collect::<Vec<_>>();
        free(&mut text, carried);
        let second = (0..10).map(|n| alloc(&mut text, 200 + n)).collect::<Vec<_>>();
        carried = alloc(&mut text, 640);
        if step == 0 {
            kept.push(alloc(&mut text, 7000));
        }
        first.into_iter().chain(second).for_each(|block| free(&mut text, block));
    }
    for block in weights.into_iter().chain(kept).chain([carried]) {
        free(&mut text, block);
    }
    text
}

fn trace(text: String) -> TraceFile {
    let bytes: Arc<[u8]> = text.into_bytes().into();
    TraceFile::of("text", Arc::new(Text(bytes)), ReadOptions::default())
}

#[test]
fn the_first_step_is_recorded_and_the_rest_is_a_trace() {
    let recorded = record(&trace(text())).unwrap();
    assert_eq!((recorded.by, recorded.steps), (steps::By::Requests, 4));
    // Two weights, what the step carries on, and what it keeps.
    assert_eq!(recorded.prologue, 4);
    let sizes: Vec<u64> = recorded.blocks[..4].iter().map(|block| block.size).collect();
    assert_eq!(sizes, [5000, 6000, 640, 7000]);
    assert_eq!(recorded.step_requests, 22);
    // What lives on has one place, in which the next one follows it.
    assert_eq!(recorded.requests.len(), 4 + 22);
    for (block, until) in [(2, 4 + 10), (3, 4 + 21)] {
        let of_block = (0..).zip(&recorded.requests).filter(|(_, request)| request.block == block);
        let shared: Vec<usize> = of_block.map(|(number, _)| number).collect();
        assert_eq!(shared.len(), 2);
        assert_eq!(recorded.requests[shared[0]].until, until);
        assert!(until as usize <= shared[1]);
        assert_eq!(recorded.requests[shared[1]].until as usize, recorded.requests.len());
    }
    let weight = recorded.requests[0];
    assert_eq!(weight.until as usize, recorded.requests.len());
    // The rest: what is live, then three steps with no block of the first, and the frees at the end.
    let scan = recorded.rest.scan(&mut |_| ()).unwrap();
    assert_eq!(scan.totals.allocs, 4 + 3 * 21);
    assert_eq!(scan.totals.live_bytes, 0);
    assert_eq!(recorded.begins.first(), Some(&4));
}

/// What the step before made is freed in the middle of a step: its place is not in use until the step makes its own.
#[test]
fn what_one_step_makes_and_the_next_one_frees_leaves_its_place_meanwhile() {
    let recorded = record(&trace(text())).unwrap();
    let [weight, other, carried, kept] = recorded.gaps[..4] else { panic!("{:?}", recorded.gaps) };
    assert_eq!((weight, other, kept), (None, None, None));
    // Ten requests, then the release; ten more, then the next one.
    assert_eq!(carried, Some((10, 21)));
    assert!(recorded.gaps[4..].iter().all(Option::is_none));
    // The pool is told so: over by the request after the release.
    assert_eq!(recorded.requests[2].until, 4 + 10);
    assert_eq!(recorded.requests[3].until as usize, 4 + 21);
}

#[test]
fn a_trace_without_steps_is_refused_with_what_else_to_do() {
    let mut text = String::from("time_ns,action,id,size,stream,thread\n");
    (1..200).for_each(|id| text.push_str(&format!("0,alloc,{id},{},0,0\n", id * id)));
    let error = record(&trace(text)).unwrap_err().to_string();
    assert!(error.contains("no step repeats") && error.contains("strandline plan"), "{error}");
}
