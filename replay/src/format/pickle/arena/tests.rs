use super::*;

/// The base is found while records are there already: what was stored before it must read the same.
#[test]
fn numbers_come_back_whatever_the_base() {
    let mut arena = Arena::new(Keep::Trace);
    let numbers = [0, 7, -1, LARGE - 1, 1 << 47, 5, i64::MIN, i64::MAX, (1 << 47) + 9, -LARGE];
    let dicts: Vec<Value> = numbers
        .iter()
        .map(|&number| {
            let dict = arena.new_dict().unwrap();
            arena.set(dict, [(Value::Str(Word::ADDR), Value::Int(number))]).unwrap();
            dict
        })
        .collect();
    for (dict, number) in dicts.iter().zip(numbers) {
        assert_eq!(arena.get(*dict, Word::ADDR), Some(Value::Int(number)));
    }
}

#[test]
fn lists_with_the_same_elements_share_them_until_one_grows() {
    let mut arena = Arena::new(Keep::Everything);
    let word = |arena: &mut Arena, text: &str| Value::Str(arena.word(text.as_bytes()));
    let [x, y] = ["x", "y"].map(|text| word(&mut arena, text));
    let list = |arena: &mut Arena, values: &[Value]| {
        let list = arena.new_list().unwrap();
        arena.extend(list, values).unwrap();
        list
    };
    let [a, b, c, none] =
        [&[x, y][..], &[x, y], &[y, x], &[]].map(|values| list(&mut arena, values));
    let body = |arena: &Arena, list| arena.list(list).unwrap().body();
    assert_eq!(body(&arena, a), body(&arena, b));
    assert_ne!(body(&arena, a), body(&arena, c));
    assert_eq!(body(&arena, none), 0);
    arena.extend(b, &[x]).unwrap();
    arena.extend(b, &[y, y]).unwrap();
    arena.extend(none, &[x, y]).unwrap();
    let of = |arena: &Arena, list| arena.list(list).unwrap().iter().collect::<Vec<_>>();
    assert_eq!(of(&arena, a), [x, y]);
    assert_eq!(of(&arena, b), [x, y, x, y, y]);
    assert_eq!(of(&arena, c), [y, x]);
    assert_eq!(of(&arena, none), [x, y]);
    assert_eq!(body(&arena, none), body(&arena, a));
    // Nothing is looked for among lists that are long.
    let long = vec![x; SHORT + 1];
    let [long, again] = [(); 2].map(|()| list(&mut arena, &long));
    assert_ne!(body(&arena, long), body(&arena, again));
}

#[test]
fn a_dictionary_can_be_changed_in_the_middle_of_others() {
    let mut arena = Arena::new(Keep::Trace);
    let [a, b] = [(); 2].map(|()| arena.new_dict().unwrap());
    let item = |key, number| (Value::Str(key), Value::Int(number));
    arena.set(a, [item(Word::SIZE, 1), item(Word::ADDR, 300)]).unwrap();
    arena.set(b, [item(Word::SIZE, 2)]).unwrap();
    arena.set(a, [item(Word::SIZE, 70_000)]).unwrap();
    arena.set(b, [(Value::Str(Word::STREAM), Value::Float(0.5))]).unwrap();
    arena.set(a, [item(Word::ADDR, 301), (Value::Int(3), Value::None)]).unwrap();
    let twice = arena.new_dict().unwrap();
    let items = [item(Word::SIZE, 4), item(Word::ADDR, 5), item(Word::SIZE, 6)];
    for _ in 0..2 {
        arena.set(twice, items).unwrap();
        assert_eq!(arena.get(twice, Word::SIZE), Some(Value::Int(6)), "the last one wins");
        assert_eq!(arena.get(twice, Word::ADDR), Some(Value::Int(5)));
    }
    let of = |dict, key| arena.get(dict, key);
    assert_eq!(of(a, Word::SIZE), Some(Value::Int(70_000)));
    assert_eq!(of(a, Word::ADDR), Some(Value::Int(301)));
    assert_eq!(of(b, Word::SIZE), Some(Value::Int(2)));
    assert_eq!(of(b, Word::STREAM), Some(Value::Float(0.5)));
    assert_eq!(of(b, Word::ADDR), None);
}
