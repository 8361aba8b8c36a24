//! Bytes in and out: the few shapes that every record of the store is made of. Reading checks everything and never
//! panics, so that a damaged record is an error with a reason. It knows no job and no key.

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It ends in the middle of a field.
    #[error("it is cut short")]
    Short,
    /// It goes on after the last field.
    #[error("it goes on after its end")]
    Trailing,
    /// A code that stands for nothing.
    #[error("its field {0} holds a code that means nothing")]
    Code(&'static str),
    /// A text that is no UTF-8.
    #[error("its field {0} is no UTF-8")]
    Text(&'static str),
    /// A record form that this program does not know.
    #[error("it has the form {0}, which this program does not know")]
    Form(u8),
    /// It names something that another record should hold, which is not there.
    #[error("it needs {0}, which is not there")]
    Missing(&'static str),
}

/// Writes a record.
#[derive(Default)]
pub(super) struct Out(Vec<u8>);

impl Out {
    /// A record that begins with the number of its form and is likely to need `capacity` bytes.
    pub(super) fn form(form: u8, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.push(form);
        Self(bytes)
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// Bytes whose number the reader knows.
    pub(super) fn fixed(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// A number in as few bytes as it needs, seven bits in each.
    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push((number & 0x7f) as u8);
    }

    /// A number that may be negative, short where it is near zero.
    pub(super) fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    /// Bytes with their number before them.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.fixed(bytes);
    }

    /// The record so far.
    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Goes on with a record.
impl From<Vec<u8>> for Out {
    fn from(begun: Vec<u8>) -> Self {
        Self(begun)
    }
}

/// Reads a record.
#[derive(Clone, Copy)]
pub(super) struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The number of the form, which must be one that is known.
    pub(super) fn form(&mut self, known: u8) -> Result<(), Damage> {
        let form = self.byte()?;
        if form == known { Ok(()) } else { Err(Damage::Form(form)) }
    }

    /// The number of the form, which must be one of these.
    pub(super) fn form_of(&mut self, known: &[u8]) -> Result<u8, Damage> {
        let form = self.byte()?;
        if known.contains(&form) { Ok(form) } else { Err(Damage::Form(form)) }
    }

    pub(super) fn byte(&mut self) -> Result<u8, Damage> {
        let (&first, rest) = self.0.split_first().ok_or(Damage::Short)?;
        self.0 = rest;
        Ok(first)
    }

    pub(super) fn slice(&mut self, len: usize) -> Result<&'a [u8], Damage> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Damage::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        self.slice(N)?.try_into().map_err(|_| Damage::Short)
    }

    pub(super) fn number(&mut self) -> Result<u64, Damage> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            number |= bits << shift;
            if byte < 0x80 {
                // The tenth byte has room for one bit.
                return if shift == 63 && bits > 1 { Err(Damage::Code("number")) } else { Ok(number) };
            }
        }
        Err(Damage::Code("number"))
    }

    pub(super) fn signed(&mut self) -> Result<i64, Damage> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// A number that a field of 32 bits can hold.
    pub(super) fn small(&mut self, field: &'static str) -> Result<u32, Damage> {
        u32::try_from(self.number()?).map_err(|_| Damage::Code(field))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Damage> {
        let len = usize::try_from(self.number()?).map_err(|_| Damage::Short)?;
        self.slice(len)
    }

    pub(super) fn text(&mut self, field: &'static str) -> Result<&'a str, Damage> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Damage::Text(field))
    }

    /// How many bytes are left.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), Damage> {
        if self.0.is_empty() { Ok(()) } else { Err(Damage::Trailing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_they_went() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = Out::default();
            out.number(number);
            let bytes = out.done();
            let mut read = In::new(&bytes);
            assert_eq!((read.number(), read.end()), (Ok(number), Ok(())), "{number}");
        }
        for number in [0, 1, -1, 63, -64, 64, i64::MAX, i64::MIN] {
            let mut out = Out::default();
            out.signed(number);
            let bytes = out.done();
            assert_eq!(In::new(&bytes).signed(), Ok(number), "{number}");
        }
    }

    #[test]
    fn what_is_no_record_is_an_error() {
        assert_eq!(In::new(&[]).number(), Err(Damage::Short));
        assert_eq!(In::new(&[0x80]).number(), Err(Damage::Short));
        assert_eq!(In::new(&[0xff; 11]).number(), Err(Damage::Code("number")));
        assert_eq!(In::new(&[3, 1]).bytes(), Err(Damage::Short));
        assert_eq!(In::new(&[1, 0xff]).text("name"), Err(Damage::Text("name")));
        assert_eq!(In::new(&[7]).form(1), Err(Damage::Form(7)));
        assert_eq!(In::new(&[7]).end(), Err(Damage::Trailing));
    }
}
