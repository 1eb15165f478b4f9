//! MessagePack token by token: for looking at values without their types and without recursion.

/// What a value begins with. After an array come its elements, after a map its keys and values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Token<'a> {
    Nil,
    Bool(bool),
    Natural(u64),
    Negative(i64),
    F32(f32),
    F64(f64),
    /// Text, which may not be UTF-8.
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    Extension(i8, &'a [u8]),
    Array(u32),
    Map(u32),
}

impl Token<'_> {
    /// How many values follow and belong to it.
    pub(super) fn values(self) -> u64 {
        match self {
            Token::Array(len) => len.into(),
            Token::Map(len) => u64::from(len) * 2,
            _ => 0,
        }
    }
}

/// The tokens of some bytes.
#[derive(Debug, Clone)]
pub(super) struct Tokens<'a>(pub(super) &'a [u8]);

impl<'a> Tokens<'a> {
    /// The next token; `None` at the end, in the middle of a token, and where there is none.
    pub(super) fn next(&mut self) -> Option<Token<'a>> {
        let [marker] = self.take()?;
        Some(match marker {
            0x00..=0x7f => Token::Natural(marker.into()),
            0x80..=0x8f => Token::Map((marker & 0x0f).into()),
            0x90..=0x9f => Token::Array((marker & 0x0f).into()),
            0xa0..=0xbf => Token::Text(self.bytes((marker & 0x1f).into())?),
            0xc0 => Token::Nil,
            0xc1 => return None,
            0xc2 | 0xc3 => Token::Bool(marker == 0xc3),
            0xc4..=0xc6 => {
                let len = self.len(marker - 0xc4)?;
                Token::Bytes(self.bytes(len)?)
            }
            0xc7..=0xc9 => {
                let len = self.len(marker - 0xc7)?;
                self.extension(len)?
            }
            0xca => Token::F32(f32::from_be_bytes(self.take()?)),
            0xcb => Token::F64(f64::from_be_bytes(self.take()?)),
            0xcc => Token::Natural(u8::from_be_bytes(self.take()?).into()),
            0xcd => Token::Natural(u16::from_be_bytes(self.take()?).into()),
            0xce => Token::Natural(u32::from_be_bytes(self.take()?).into()),
            0xcf => Token::Natural(u64::from_be_bytes(self.take()?)),
            0xd0 => integer(i8::from_be_bytes(self.take()?).into()),
            0xd1 => integer(i16::from_be_bytes(self.take()?).into()),
            0xd2 => integer(i32::from_be_bytes(self.take()?).into()),
            0xd3 => integer(i64::from_be_bytes(self.take()?)),
            0xd4..=0xd8 => self.extension(1 << (marker - 0xd4))?,
            0xd9..=0xdb => {
                let len = self.len(marker - 0xd9)?;
                Token::Text(self.bytes(len)?)
            }
            0xdc | 0xdd => Token::Array(self.len(marker - 0xdc + 1)?),
            0xde | 0xdf => Token::Map(self.len(marker - 0xde + 1)?),
            0xe0.. => Token::Negative((marker as i8).into()),
        })
    }

    /// Goes past the next value, whatever is in it.
    pub(super) fn skip(&mut self) -> Option<()> {
        let mut left = 1u64;
        while left > 0 {
            left = left - 1 + self.next()?.values();
        }
        Some(())
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn bytes(&mut self, len: u32) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len.try_into().ok()?)?;
        self.0 = rest;
        Some(bytes)
    }

    /// A length of 1, 2 or 4 bytes.
    fn len(&mut self, width: u8) -> Option<u32> {
        Some(match width {
            0 => u8::from_be_bytes(self.take()?).into(),
            1 => u16::from_be_bytes(self.take()?).into(),
            _ => u32::from_be_bytes(self.take()?),
        })
    }

    fn extension(&mut self, len: u32) -> Option<Token<'a>> {
        let tag = i8::from_be_bytes(self.take()?);
        Some(Token::Extension(tag, self.bytes(len)?))
    }
}

fn integer(n: i64) -> Token<'static> {
    u64::try_from(n).map_or(Token::Negative(n), Token::Natural)
}
