//! The words of Python text, as far as they make up data.

use super::python::Syntax;

/// Operators and brackets, the longer before those that they begin with.
const SYMBOLS: [&str; 14] = [
    "//", "(", ")", "[", "]", "{", "}", ",", ":", "=", "+", "-", "*", "/",
];

/// A word of the text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Name(String),
    Int(i64),
    Float(f64),
    Str(String),
    Symbol(&'static str),
    /// The end of a line outside brackets.
    Newline,
    End,
}

impl Token {
    /// The word as a message shows it.
    pub(super) fn found(&self) -> String {
        match self {
            Self::Name(name) => format!("`{name}`"),
            Self::Int(number) => format!("`{number}`"),
            Self::Float(number) => format!("`{number}`"),
            Self::Str(_) => "a string".to_owned(),
            Self::Symbol(symbol) => format!("`{symbol}`"),
            Self::Newline => "the end of the line".to_owned(),
            Self::End => "the end of the text".to_owned(),
        }
    }
}

/// Reads one word after the other.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    rest: &'a str,
    /// Line of the next character, from 1.
    pub(super) line: usize,
    /// Brackets that are open: lines end nowhere within.
    open: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            rest: text.strip_prefix('\u{feff}').unwrap_or(text),
            line: 1,
            open: 0,
        }
    }

    pub(super) fn error(&self, message: impl Into<String>) -> Syntax {
        Syntax {
            line: self.line,
            message: message.into(),
        }
    }

    /// Takes the next word.
    pub(super) fn next(&mut self) -> Result<Token, Syntax> {
        self.skip();
        let Some(first) = self.rest.chars().next() else {
            return Ok(Token::End);
        };
        if first == '\n' {
            self.take(1);
            return Ok(Token::Newline);
        }
        if first.is_ascii_digit() || self.begins_with_fraction() {
            return self.number();
        }
        if let Some(quoted) = self.string_start() {
            return self.string(quoted);
        }
        if first.is_alphabetic() || first == '_' {
            return Ok(Token::Name(self.word().to_owned()));
        }
        self.symbol(first)
    }

    /// Passes what separates words.
    fn skip(&mut self) {
        while let Some(next) = self.rest.chars().next() {
            match next {
                '#' => {
                    let end = self.rest.find('\n').unwrap_or(self.rest.len());
                    self.take(end);
                }
                '\\' if self.line_goes_on() => {
                    let end = self.rest.find('\n').unwrap_or(0);
                    self.take(end + 1);
                }
                '\n' if self.open > 0 => {
                    self.take(1);
                }
                ' ' | '\t' | '\r' | '\u{c}' => {
                    self.take(1);
                }
                _ => break,
            }
        }
    }

    fn line_goes_on(&self) -> bool {
        self.rest.starts_with("\\\n") || self.rest.starts_with("\\\r\n")
    }

    /// Takes this many bytes and counts the lines.
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    /// Takes the letters, digits and underscores that follow.
    fn word(&mut self) -> &'a str {
        let other = |c: char| !(c.is_alphanumeric() || c == '_');
        let end = self.rest.find(other).unwrap_or(self.rest.len());
        self.take(end)
    }

    fn symbol(&mut self, first: char) -> Result<Token, Syntax> {
        let known = SYMBOLS.into_iter().find(|s| self.rest.starts_with(s));
        // An operator that is longer than one that is known is another one.
        let power = self.rest.starts_with("**") || self.rest.starts_with("==");
        let Some(symbol) = known.filter(|_| !power) else {
            let found = if power {
                &self.rest[..2]
            } else {
                &self.rest[..first.len_utf8()]
            };
            return Err(self.error(format!("found `{found}`, which is not read here")));
        };
        self.take(symbol.len());
        match symbol {
            "(" | "[" | "{" => self.open += 1,
            ")" | "]" | "}" => self.open = self.open.saturating_sub(1),
            _ => {}
        }
        Ok(Token::Symbol(symbol))
    }

    fn begins_with_fraction(&self) -> bool {
        let mut chars = self.rest.chars();
        chars.next() == Some('.') && chars.next().is_some_and(|c| c.is_ascii_digit())
    }

    fn number(&mut self) -> Result<Token, Syntax> {
        let mut end = 0;
        let bytes = self.rest.as_bytes();
        let hexadecimal = self.rest.starts_with("0x") || self.rest.starts_with("0X");
        while let Some(next) = bytes.get(end) {
            let signed = matches!(next, b'+' | b'-')
                && !hexadecimal
                && end > 0
                && matches!(bytes[end - 1], b'e' | b'E');
            if !(signed || next.is_ascii_alphanumeric() || matches!(next, b'.' | b'_')) {
                break;
            }
            end += 1;
        }
        let written = &self.rest[..end];
        let number = read_number(&written.replace('_', ""));
        let wrong = || self.error(format!("found `{written}`; expected a number of 64 bits"));
        let token = number.ok_or_else(wrong)?;
        self.take(end);
        Ok(token)
    }

    /// The prefix and the quotes with which a string begins here.
    fn string_start(&self) -> Option<Quoted> {
        let letter = |byte: &u8| byte.is_ascii_alphabetic();
        let prefix = self.rest.bytes().take(3).take_while(letter).count();
        let letters = &self.rest[..prefix];
        if !self.rest[prefix..].starts_with(['\'', '"']) {
            return None;
        }
        let from_quotes = &self.rest[prefix..];
        let mark = &from_quotes[..1];
        let triple = from_quotes.starts_with(&mark.repeat(3));
        Some(Quoted {
            prefix: letters.to_ascii_lowercase(),
            quotes: mark.repeat(if triple { 3 } else { 1 }),
        })
    }

    fn string(&mut self, quoted: Quoted) -> Result<Token, Syntax> {
        let Quoted { prefix, quotes } = quoted;
        let raw = match prefix.as_str() {
            "" | "u" => false,
            "r" => true,
            _ => return Err(self.error(format!("found a string that begins with `{prefix}`"))),
        };
        let start = self.line;
        self.take(prefix.len() + quotes.len());
        let mut text = String::new();
        loop {
            if self.rest.starts_with(&quotes) {
                self.take(quotes.len());
                return Ok(Token::Str(text));
            }
            match self.rest.chars().next() {
                None => break,
                Some('\n') if quotes.len() == 1 => break,
                Some('\\') if raw => {
                    let escaped = self.rest.chars().nth(1).map_or(0, char::len_utf8);
                    text.push_str(self.take(1 + escaped));
                }
                Some('\\') => self.escape(&mut text)?,
                Some(next) => text.push_str(self.take(next.len_utf8())),
            }
        }
        Err(Syntax {
            line: start,
            message: "found a string that does not end".to_owned(),
        })
    }

    /// Takes a backslash and what belongs to it.
    fn escape(&mut self, text: &mut String) -> Result<(), Syntax> {
        self.take(1);
        let Some(kind) = self.rest.chars().next() else {
            return Ok(());
        };
        self.take(kind.len_utf8());
        let plain = match kind {
            '\n' => return Ok(()),
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            '\\' | '\'' | '"' => kind,
            'x' => self.code_point(2)?,
            'u' => self.code_point(4)?,
            'U' => self.code_point(8)?,
            _ => return Err(self.error(format!("found `\\{kind}` in a string"))),
        };
        text.push(plain);
        Ok(())
    }

    fn code_point(&mut self, digits: usize) -> Result<char, Syntax> {
        let written = self.rest.get(..digits);
        let code = written.and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let character = code.and_then(char::from_u32);
        let wrong = || self.error("found an escape in a string that is no character");
        let character = character.ok_or_else(wrong)?;
        self.take(digits);
        Ok(character)
    }
}

/// How a string begins.
struct Quoted {
    prefix: String,
    quotes: String,
}

/// A number without underscores: decimal or hexadecimal, or with a fraction or an exponent.
fn read_number(written: &str) -> Option<Token> {
    let lower = written.to_ascii_lowercase();
    if let Some(hexadecimal) = lower.strip_prefix("0x") {
        return i64::from_str_radix(hexadecimal, 16).ok().map(Token::Int);
    }
    if lower.bytes().all(|byte| byte.is_ascii_digit()) {
        return lower.parse().ok().map(Token::Int);
    }
    let allowed = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'+' | b'-');
    let float = lower.bytes().all(allowed).then(|| lower.parse::<f64>());
    let float = float?.ok().filter(|number| number.is_finite());
    float.map(Token::Float)
}
