//! A pickle machine without code: it builds the values that a pickle describes and calls nothing.
//!
//! All values are in one list and refer to each other by index, so that cycles and repeated references are possible. Memory
//! is therefore linear in the length of the pickle. Values that own each other would take exponential memory where they are
//! referred to repeatedly, and would overflow the stack where they are nested deeply and dropped.

use std::collections::HashMap;

/// What was read, or why it cannot be.
pub(super) type Parsed<T> = Result<T, String>;

/// The index of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(u32);

/// A value; texts are parts of the pickle.
#[derive(Debug, PartialEq)]
pub(super) enum Value<'a> {
    Int(i64),
    Text(&'a str),
    /// Module and name.
    Global(&'a str, &'a str),
    /// A tuple or list.
    Sequence(Vec<Id>),
    /// In order, an ordered dictionary too.
    Dict(Vec<(Id, Id)>),
    /// What a call would give.
    Call {
        callable: Id,
        arguments: Id,
    },
    /// An object outside the pickle, by its identity.
    Persistent(Id),
    /// What means nothing here: `None`, a truth value, a fraction, a number beyond 64 bits.
    Other,
}

/// The values of a pickle.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    values: Vec<Value<'a>>,
    top: Id,
}

impl<'a> Pickle<'a> {
    /// Runs a pickle of protocol 2, as PyTorch writes it, to its end.
    ///
    /// # Errors
    /// When it ends early, takes from an empty stack, or has an operation that PyTorch's checkpoints do not have.
    pub(super) fn load(code: &'a [u8]) -> Parsed<Self> {
        let mut machine = Machine {
            code,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        while !machine.step()? {}
        let top = machine.pop()?;
        Ok(Self {
            values: machine.values,
            top,
        })
    }

    /// The value that the pickle is of.
    pub(super) fn top(&self) -> Id {
        self.top
    }

    pub(super) fn get(&self, id: Id) -> &Value<'a> {
        &self.values[id.0 as usize]
    }

    pub(super) fn text(&self, id: Id) -> Option<&'a str> {
        match self.get(id) {
            Value::Text(text) => Some(*text),
            _ => None,
        }
    }

    /// The items of a tuple or list.
    pub(super) fn sequence(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The items of a dictionary; none of any other value.
    pub(super) fn items(&self, id: Id) -> impl Iterator<Item = (Id, Id)> {
        let items = match self.get(id) {
            Value::Dict(items) => items.as_slice(),
            _ => &[],
        };
        items.iter().copied()
    }
}

struct Machine<'a> {
    code: &'a [u8],
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    // Heights of the stack at the marks that are open.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    // One operation; whether it was the last. The letters are those of Python's `pickletools`.
    fn step(&mut self) -> Parsed<bool> {
        let [operation] = self.bytes()?;
        if let Some(value) = self.leaf(operation)? {
            self.push(value)?;
            return Ok(false);
        }
        match operation {
            // STOP
            b'.' => return Ok(true),
            // PROTO
            0x80 => {
                self.bytes::<1>()?;
            }
            // MARK
            b'(' => self.marks.push(self.stack.len()),
            // TUPLE, TUPLE1, TUPLE2, TUPLE3
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Sequence(items))?;
            }
            0x85..=0x87 => {
                let count = usize::from(operation - 0x84);
                let from = self.stack.len().checked_sub(count).ok_or(EMPTY)?;
                let items = self.stack.split_off(self.above_mark(from)?);
                self.push(Value::Sequence(items))?;
            }
            // APPEND, APPENDS
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.append(&items)?;
            }
            // DICT, SETITEM, SETITEMS
            b'd' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Dict(Vec::new()))?;
                self.set(&items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set(&items)?;
            }
            // BINPUT, LONG_BINPUT, BINGET, LONG_BINGET
            b'q' | b'r' | b'h' | b'j' => {
                let n = match operation {
                    b'q' | b'h' => self.bytes::<1>()?[0].into(),
                    _ => u32::from_le_bytes(self.bytes()?),
                };
                if matches!(operation, b'q' | b'r') {
                    let last = self.last()?;
                    self.memo.insert(n, last);
                } else {
                    let known = self.memo.get(&n).copied();
                    self.stack
                        .push(known.ok_or_else(|| format!("its pickle recalls {n}, which it did not remember"))?);
                }
            }
            // BINPERSID
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id))?;
            }
            // REDUCE, NEWOBJ
            b'R' | 0x81 => {
                let arguments = self.pop()?;
                let callable = self.pop()?;
                self.push(match self.values[callable.0 as usize] {
                    Value::Global("collections", "OrderedDict" | "defaultdict") => Value::Dict(Vec::new()),
                    _ => Value::Call { callable, arguments },
                })?;
            }
            // BUILD gives an object its attributes; none of them is read.
            b'b' => {
                self.pop()?;
                self.last()?;
            }
            other => {
                return Err(format!(
                    "its pickle has the operation {other:#04x}, which no checkpoint has"
                ));
            }
        }
        Ok(false)
    }

    // The value of an operation that takes none from the stack; `None` for the others.
    fn leaf(&mut self, operation: u8) -> Parsed<Option<Value<'a>>> {
        Ok(Some(match operation {
            // NONE, NEWTRUE, NEWFALSE
            b'N' | 0x88 | 0x89 => Value::Other,
            // BINFLOAT
            b'G' => {
                self.bytes::<8>()?;
                Value::Other
            }
            // BININT1, BININT2, BININT
            b'K' => Value::Int(self.bytes::<1>()?[0].into()),
            b'M' => Value::Int(u16::from_le_bytes(self.bytes()?).into()),
            b'J' => Value::Int(i32::from_le_bytes(self.bytes()?).into()),
            // LONG1
            0x8a => {
                let [length] = self.bytes()?;
                long(self.take(length.into())?)
            }
            // BINUNICODE
            b'X' => {
                let length = u32::from_le_bytes(self.bytes()?);
                let text = std::str::from_utf8(self.take(length as usize)?);
                Value::Text(text.map_err(|_| "a text in its pickle is not UTF-8")?)
            }
            // GLOBAL
            b'c' => Value::Global(self.line()?, self.line()?),
            // EMPTY_TUPLE, EMPTY_LIST, EMPTY_DICT
            b')' | b']' => Value::Sequence(Vec::new()),
            b'}' => Value::Dict(Vec::new()),
            _ => return Ok(None),
        }))
    }

    fn take(&mut self, count: usize) -> Parsed<&'a [u8]> {
        let (taken, rest) = self.code.split_at_checked(count).ok_or("its pickle ends early")?;
        self.code = rest;
        Ok(taken)
    }

    fn bytes<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        let (taken, rest) = self.code.split_first_chunk().ok_or("its pickle ends early")?;
        self.code = rest;
        Ok(*taken)
    }

    fn line(&mut self) -> Parsed<&'a str> {
        let end = self
            .code
            .iter()
            .position(|&byte| byte == b'\n')
            .ok_or("its pickle ends early")?;
        let line = self.take(end + 1)?;
        std::str::from_utf8(&line[..end]).map_err(|_| "a name in its pickle is not UTF-8".to_owned())
    }

    fn push(&mut self, value: Value<'a>) -> Parsed<()> {
        let id = u32::try_from(self.values.len()).map_err(|_| "its pickle is too large")?;
        self.values.push(value);
        self.stack.push(Id(id));
        Ok(())
    }

    // `height`, unless a mark is open above it: values below a mark cannot be taken until the mark is gone.
    fn above_mark(&self, height: usize) -> Parsed<usize> {
        match self.marks.last() {
            Some(&mark) if height < mark => Err(EMPTY.to_owned()),
            _ => Ok(height),
        }
    }

    fn pop(&mut self) -> Parsed<Id> {
        let height = self.stack.len().checked_sub(1).ok_or(EMPTY)?;
        self.above_mark(height)?;
        self.stack.pop().ok_or_else(|| EMPTY.to_owned())
    }

    fn pop_to_mark(&mut self) -> Parsed<Vec<Id>> {
        let mark = self.marks.pop().ok_or("its pickle has no mark where one is needed")?;
        Ok(self.stack.split_off(mark))
    }

    fn last(&self) -> Parsed<Id> {
        self.above_mark(self.stack.len().checked_sub(1).ok_or(EMPTY)?)?;
        self.stack.last().copied().ok_or_else(|| EMPTY.to_owned())
    }

    fn append(&mut self, new: &[Id]) -> Parsed<()> {
        let last = self.last()?;
        match &mut self.values[last.0 as usize] {
            Value::Sequence(items) => items.extend(new),
            _ => return Err("its pickle appends to a value that is not a list".to_owned()),
        }
        Ok(())
    }

    // Keys and values, alternating.
    fn set(&mut self, new: &[Id]) -> Parsed<()> {
        let last = self.last()?;
        let (pairs, rest) = new.as_chunks::<2>();
        match &mut self.values[last.0 as usize] {
            Value::Dict(items) if rest.is_empty() => items.extend(pairs.iter().map(|&[key, value]| (key, value))),
            Value::Dict(_) => return Err("its pickle sets a key without a value".to_owned()),
            _ => return Err("its pickle sets keys of a value that is not a dictionary".to_owned()),
        }
        Ok(())
    }
}

const EMPTY: &str = "its pickle takes a value from an empty stack";

// A little-endian number in two's complement.
fn long<'a>(bytes: &[u8]) -> Value<'a> {
    let Some(&last) = bytes.last() else {
        return Value::Int(0);
    };
    let mut whole = [if last < 0x80 { 0x00 } else { 0xff }; 8];
    match whole.get_mut(..bytes.len()) {
        Some(low) => low.copy_from_slice(bytes),
        None => return Value::Other,
    }
    Value::Int(i64::from_le_bytes(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_length_are_read() {
        for (bytes, expected) in [
            (&[][..], Value::Int(0)),
            (&[0xff], Value::Int(-1)),
            (&[0xff, 0x00], Value::Int(255)),
            (&[0, 0, 0, 0, 0, 0, 0, 0x80], Value::Int(i64::MIN)),
            (&[1; 9], Value::Other),
            (&[1; 255], Value::Other),
        ] {
            assert_eq!(long(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_remembered_is_the_value_itself_and_not_its_copy_then() {
        // A list that is remembered, appended to, and recalled beside itself; then one that holds itself.
        let pickle = Pickle::load(b"]q\x00K\x07ah\x00\x86.").unwrap();
        let both = pickle.sequence(pickle.top()).unwrap();
        assert_eq!(both[0], both[1]);
        assert_eq!(pickle.sequence(both[0]).map(<[Id]>::len), Some(1));
        let circle = Pickle::load(b"]q\x00h\x00a.").unwrap();
        assert_eq!(circle.sequence(circle.top()), Some(&[circle.top()][..]));
    }

    #[test]
    fn no_pickle_costs_more_than_it_is_long() {
        // Pairs of pairs, 2¹⁰⁰ leaves in all, and tuples of one nested a million deep.
        let mut doubled = b"K\x01".to_vec();
        doubled.extend(b"q\x00h\x00\x86".repeat(100));
        doubled.push(b'.');
        assert_eq!(Pickle::load(&doubled).unwrap().values.len(), 101);
        let mut nested = vec![b')'];
        nested.resize(1_000_000, 0x85);
        nested.push(b'.');
        assert_eq!(Pickle::load(&nested).unwrap().values.len(), 1_000_000);
        // A text of four gigabytes, of which there is none.
        assert!(Pickle::load(b"X\xff\xff\xff\xff.").unwrap_err().contains("ends early"));
    }

    #[test]
    fn operations_on_nothing_are_refused() {
        let good = b"\x80\x02ccollections\nOrderedDict\n)R(X\x01\x00\x00\x00aK\x01u}b.";
        assert_eq!(Pickle::load(good).unwrap().items(Id(2)).count(), 1);
        for length in 0..good.len() {
            assert!(Pickle::load(&good[..length]).is_err(), "{length}");
        }
        for bad in [
            "t.",
            "a.",
            "(a.",
            "s.",
            "}K\u{1}s.",
            "K\u{1}(K\u{1}\u{1}.",
            "R.",
            "h\u{1}.",
            "q\u{1}.",
            "b.",
            "Q.",
            "~.",
        ] {
            assert!(Pickle::load(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
