//! The bytes of a JSON file as people's tools write it, read once and never held as a whole.
//!
//! A byte order mark is left out. `NaN`, `Infinity` and `-Infinity`, which are not JSON but which
//! Python writes, become texts of the same length that [`Found`](super::Found) knows. The digest
//! of the file is computed on the way.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// Bytes that are read at once.
const BLOCK: usize = 1 << 18;
/// Bytes that are kept back until their successors are known: the longest token has 9.
const TAIL: usize = 16;
/// Marks a text that stands for a number that is not finite: a character that no file has.
pub(super) const MARK: char = '\u{7f}';
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A JSON file on its way to the parser.
pub(super) struct Stream<R> {
    source: R,
    digest: Sha256,
    block: Vec<u8>,
    /// What of `block` the parser has had, may have, and what there is.
    given: usize,
    ready: usize,
    filled: usize,
    ended: bool,
    /// Where the byte at `ready` stands.
    place: Place,
    /// Whether anything has been read yet.
    started: bool,
}

/// Where in the grammar of JSON a byte stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    Text,
    Escape,
}

impl<R: Read> Stream<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            digest: Sha256::new(),
            block: vec![0; BLOCK],
            given: 0,
            ready: 0,
            filled: 0,
            ended: false,
            place: Place::Outside,
            started: false,
        }
    }

    /// The first bytes of the file, without a byte order mark.
    pub(super) fn start(&mut self) -> io::Result<&[u8]> {
        if !self.started {
            self.refill()?;
        }
        Ok(&self.block[self.given..self.filled])
    }

    /// SHA-256 of all bytes that were read, in hexadecimal.
    pub(super) fn digest(self) -> String {
        let bytes = self.digest.finalize();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Moves what is left to the front and reads on, until something is ready or the file ends.
    fn refill(&mut self) -> io::Result<()> {
        self.block.copy_within(self.given..self.filled, 0);
        self.filled -= self.given;
        self.ready -= self.given;
        self.given = 0;
        while !self.ended && self.filled < BLOCK {
            let count = match self.source.read(&mut self.block[self.filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                count => count?,
            };
            self.digest
                .update(&self.block[self.filled..self.filled + count]);
            self.filled += count;
            self.ended = count == 0;
        }
        if !self.started {
            self.started = true;
            if self.block[..self.filled].starts_with(BYTE_ORDER_MARK) {
                (self.given, self.ready) = (BYTE_ORDER_MARK.len(), BYTE_ORDER_MARK.len());
            }
        }
        self.scan();
        Ok(())
    }

    /// Replaces the numbers that are not finite in the bytes that become ready.
    fn scan(&mut self) {
        let mut end = if self.ended {
            self.filled
        } else {
            self.filled.saturating_sub(TAIL).max(self.ready)
        };
        // The sign belongs to what follows.
        if !self.ended && end > self.ready && self.block[end - 1] == b'-' {
            end -= 1;
        }
        let mut at = self.ready;
        while at < end {
            at = match self.place {
                Place::Outside => self.outside(at, end),
                Place::Text => self.text(at, end),
                Place::Escape => {
                    self.place = Place::Text;
                    at + 1
                }
            };
        }
        // A token that began before `end` may reach beyond it.
        self.ready = at;
    }

    /// Goes on to the next text, or past the next number that is not finite.
    fn outside(&mut self, at: usize, end: usize) -> usize {
        let Some(found) = memchr::memchr3(b'"', b'N', b'I', &self.block[at..end]) else {
            return end;
        };
        let found = at + found;
        if self.block[found] == b'"' {
            self.place = Place::Text;
            return found + 1;
        }
        let rest = &self.block[found..self.filled];
        let (start, length) = match rest {
            _ if rest.starts_with(b"NaN") => (found, 3),
            _ if !rest.starts_with(b"Infinity") => return found + 1,
            _ if found > at && self.block[found - 1] == b'-' => (found - 1, 9),
            _ => (found, 8),
        };
        let token = &mut self.block[start..start + length];
        let sign = token[0];
        token.fill(b' ');
        (token[0], token[length - 1]) = (b'"', b'"');
        token[1] = MARK as u8;
        if length > 3 {
            token[2] = if sign == b'-' { b'-' } else { b'+' };
        }
        start + length
    }

    /// Goes on to the end of a text, or to a backslash in it.
    fn text(&mut self, at: usize, end: usize) -> usize {
        match memchr::memchr2(b'"', b'\\', &self.block[at..end]) {
            None => end,
            Some(found) => {
                self.place = match self.block[at + found] {
                    b'"' => Place::Outside,
                    _ => Place::Escape,
                };
                at + found + 1
            }
        }
    }
}

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.given == self.ready && !(self.ended && self.ready == self.filled) {
            self.refill()?;
        }
        let count = out.len().min(self.ready - self.given);
        out[..count].copy_from_slice(&self.block[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(out.len());
            out[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn check(text: &str, expected: &str) {
        for step in [1, 7, 1 << 20] {
            let mut stream = Stream::new(Slow(text.as_bytes(), step));
            let mut read = String::new();
            stream.read_to_string(&mut read).expect("reads");
            assert_eq!(read, expected, "{step} bytes at a time");
        }
    }

    #[test]
    fn numbers_that_are_not_finite_become_texts_of_the_same_length() {
        check("[NaN]", "[\"\u{7f}\"]");
        check(
            "[Infinity, -Infinity,1]",
            "[\"\u{7f}+    \", \"\u{7f}-     \",1]",
        );
        check(
            r#"{"N": "NaN \" NaN", "I\\": NaN}"#,
            "{\"N\": \"NaN \\\" NaN\", \"I\\\\\": \"\u{7f}\"}",
        );
        check("\u{feff}{}", "{}");
        check("Nothing", "Nothing");
        check("", "");
    }

    #[test]
    fn tokens_at_the_end_of_a_block_are_found() {
        for shift in 0..40 {
            let space = " ".repeat(BLOCK - 20 + shift);
            check(
                &format!("[{space}-Infinity,\"NaN\",NaN]"),
                &format!("[{space}\"\u{7f}-     \",\"NaN\",\"\u{7f}\"]"),
            );
        }
    }

    #[test]
    fn the_digest_is_that_of_the_file() {
        let mut stream = Stream::new("\u{feff}abc".as_bytes());
        io::copy(&mut stream, &mut io::sink()).expect("reads");
        let expected = Sha256::digest("\u{feff}abc".as_bytes());
        let expected: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(stream.digest(), expected);
    }
}
