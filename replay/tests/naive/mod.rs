//! A pickle read the plain way: every object is built and kept. Slow and unbounded, and nothing of it is the reader's.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

#[derive(Clone, Debug)]
pub(crate) enum Object {
    None,
    Int(i128),
    Float(f64),
    Text(String),
    List(Rc<RefCell<Vec<Object>>>),
    Dict(Rc<RefCell<Vec<(Object, Object)>>>),
}

impl Object {
    pub(crate) fn get(&self, key: &str) -> Option<Object> {
        let Object::Dict(items) = self else { return None };
        let items = items.borrow();
        let found =
            items.iter().rev().find(|(k, _)| matches!(k, Object::Text(text) if text == key));
        found.map(|(_, value)| value.clone())
    }

    pub(crate) fn list(&self) -> Vec<Object> {
        match self {
            Object::List(items) => items.borrow().clone(),
            _ => panic!("no list: {self:?}"),
        }
    }

    pub(crate) fn number(&self, key: &str) -> i128 {
        match self.get(key) {
            Some(Object::Int(number)) => number,
            Some(Object::Float(number)) => number as i128,
            other => panic!("{key}: {other:?}"),
        }
    }

    pub(crate) fn text(&self, key: &str) -> String {
        match self.get(key) {
            Some(Object::Text(text)) => text,
            other => panic!("{key}: {other:?}"),
        }
    }
}

/// Reads a pickle of protocol 2 and up that holds no classes.
pub(crate) fn unpickle(bytes: &[u8]) -> Object {
    let mut at = 0;
    let mut stack: Vec<Object> = Vec::new();
    let mut marks = Vec::new();
    let mut memo: HashMap<usize, Object> = HashMap::new();
    let list = |items| Object::List(Rc::new(RefCell::new(items)));
    loop {
        let opcode = bytes[at];
        at += 1;
        let mut take = |count: usize| {
            at += count;
            &bytes[at - count..at]
        };
        let number =
            |bytes: &[u8]| bytes.iter().rev().fold(0u64, |sum, &b| sum << 8 | u64::from(b));
        match opcode {
            b'.' => return stack.pop().unwrap(),
            0x80 => drop(take(1)),
            0x95 => drop(take(8)),
            b'(' => marks.push(stack.len()),
            b'}' => stack.push(Object::Dict(Rc::default())),
            b']' | b')' => stack.push(list(Vec::new())),
            b'N' => stack.push(Object::None),
            0x88 => stack.push(Object::Int(1)),
            0x89 => stack.push(Object::Int(0)),
            b'K' => stack.push(Object::Int(take(1)[0].into())),
            b'M' => stack.push(Object::Int(number(take(2)).into())),
            b'J' => stack.push(Object::Int((number(take(4)) as u32 as i32).into())),
            0x8a => {
                let length = take(1)[0] as usize;
                let digits = take(length);
                let negative = digits.last().is_some_and(|b| b & 0x80 != 0);
                let mut wide = [if negative { 0xff } else { 0 }; 16];
                wide[..length].copy_from_slice(digits);
                stack.push(Object::Int(i128::from_le_bytes(wide)));
            }
            b'G' => stack.push(Object::Float(f64::from_be_bytes(take(8).try_into().unwrap()))),
            0x8c | b'X' => {
                let length = number(take(if opcode == b'X' { 4 } else { 1 })) as usize;
                stack.push(Object::Text(String::from_utf8_lossy(take(length)).into_owned()));
            }
            0x94 => drop(memo.insert(memo.len(), stack.last().unwrap().clone())),
            b'q' => drop(memo.insert(number(take(1)) as usize, stack.last().unwrap().clone())),
            b'r' => drop(memo.insert(number(take(4)) as usize, stack.last().unwrap().clone())),
            b'h' => stack.push(memo[&(number(take(1)) as usize)].clone()),
            b'j' => stack.push(memo[&(number(take(4)) as usize)].clone()),
            0x85..=0x87 => {
                let items = stack.split_off(stack.len() - (opcode - 0x84) as usize);
                stack.push(list(items));
            }
            b't' | b'l' => {
                let items = stack.split_off(marks.pop().unwrap());
                stack.push(list(items));
            }
            b'a' | b'e' => {
                let start = if opcode == b'a' { stack.len() - 1 } else { marks.pop().unwrap() };
                let items = stack.split_off(start);
                let Some(Object::List(into)) = stack.last() else { panic!("no list") };
                into.borrow_mut().extend(items);
            }
            b's' | b'u' => {
                let start = if opcode == b's' { stack.len() - 2 } else { marks.pop().unwrap() };
                let items = stack.split_off(start);
                let Some(Object::Dict(into)) = stack.last() else { panic!("no dictionary") };
                let pairs = items.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone()));
                into.borrow_mut().extend(pairs);
            }
            _ => panic!("opcode {opcode:#04x} at {}", at - 1),
        }
    }
}
