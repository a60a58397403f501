//! Python text that holds data only: assignments of literals, as a configuration is written out.
//!
//! Nothing is executed. What is read: strings, numbers, `True`, `False`, `None`, lists, tuples,
//! dictionaries, calls of `dict` and `range`, names of earlier assignments, and sums and products.
//! The crates that parse Python read the whole language into a syntax tree, of which this would be
//! a small part, and the evaluation of literals would still be missing.

use serde_json::{Map, Number, Value};

use super::lexer::{Lexer, Token};

/// Bytes that a text may have; configurations have 5 to 50 thousand.
const MAX_BYTES: usize = 1 << 20;

/// Brackets and signs within one another; configurations have about ten.
const MAX_DEPTH: usize = 64;

/// Values and bytes of strings that a text may come to, copies through names included.
const MAX_VALUES: usize = 1 << 20;

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Syntax {
    /// Line, from 1.
    pub(super) line: usize,
    /// What was found and what was expected.
    pub(super) message: String,
}

/// The value of every name that the text assigns, the last one of each; tuples become lists.
///
/// # Errors
///
/// If there is anything but data, or more of it than a configuration has.
pub(super) fn parse(text: &str) -> Result<Map<String, Value>, Syntax> {
    let mut lexer = Lexer::new(text);
    if text.len() > MAX_BYTES {
        let message = format!("found {} bytes; at most {MAX_BYTES} are read", text.len());
        return Err(lexer.error(message));
    }
    let next = lexer.next()?;
    let mut parser = Parser {
        lexer,
        next,
        line: 1,
        names: Map::new(),
        depth: 0,
        left: MAX_VALUES,
    };
    while parser.next != Token::End {
        parser.statement()?;
    }
    Ok(parser.names)
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The word that is looked at.
    next: Token,
    /// Its line.
    line: usize,
    names: Map<String, Value>,
    depth: usize,
    /// How much of [`MAX_VALUES`] is left.
    left: usize,
}

impl Parser<'_> {
    fn error(&self, message: impl Into<String>) -> Syntax {
        Syntax {
            line: self.line,
            message: message.into(),
        }
    }

    fn expected(&self, what: &str) -> Syntax {
        self.error(format!("found {}; expected {what}", self.next.found()))
    }

    /// Takes the word that is looked at.
    fn advance(&mut self) -> Result<Token, Syntax> {
        let next = self.lexer.next()?;
        self.line = match next {
            // It is the line that ends, not the one that begins.
            Token::Newline => self.lexer.line - 1,
            _ => self.lexer.line,
        };
        Ok(std::mem::replace(&mut self.next, next))
    }

    fn at(&self, symbol: &'static str) -> bool {
        self.next == Token::Symbol(symbol)
    }

    /// Takes the symbol if it is the next word.
    fn accept(&mut self, symbol: &'static str) -> Result<bool, Syntax> {
        let found = self.at(symbol);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn need(&mut self, symbol: &'static str) -> Result<(), Syntax> {
        if self.accept(symbol)? {
            return Ok(());
        }
        Err(self.expected(&format!("`{symbol}`")))
    }

    fn spend(&mut self, values: usize) -> Result<(), Syntax> {
        let left = self.left.checked_sub(values);
        self.left = left.ok_or_else(|| {
            self.error(format!("found more than {MAX_VALUES} values and letters"))
        })?;
        Ok(())
    }

    fn statement(&mut self) -> Result<(), Syntax> {
        if self.next == Token::Newline {
            self.advance()?;
            return Ok(());
        }
        let line = self.line;
        let name = match self.advance()? {
            Token::Name(name) if self.at("=") => name,
            word => {
                let message = format!(
                    "found {}; expected an assignment `name = value`",
                    word.found()
                );
                return Err(Syntax { line, message });
            }
        };
        self.advance()?;
        let value = self.value()?;
        if !matches!(self.next, Token::Newline | Token::End) {
            return Err(self.expected("the end of the line"));
        }
        self.names.insert(name, value);
        Ok(())
    }

    fn value(&mut self) -> Result<Value, Syntax> {
        let mut value = self.product()?;
        loop {
            let line = self.line;
            let operator = match self.next {
                Token::Symbol(symbol @ ("+" | "-")) => symbol,
                _ => return Ok(value),
            };
            self.advance()?;
            let right = self.product()?;
            value = self.join(operator, value, right, line)?;
        }
    }

    fn product(&mut self) -> Result<Value, Syntax> {
        let mut value = self.signed()?;
        loop {
            let line = self.line;
            let operator = match self.next {
                Token::Symbol(symbol @ ("*" | "/" | "//")) => symbol,
                _ => return Ok(value),
            };
            self.advance()?;
            let right = self.signed()?;
            value = self.join(operator, value, right, line)?;
        }
    }

    fn signed(&mut self) -> Result<Value, Syntax> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(format!("found more than {MAX_DEPTH} values in one another")));
        }
        let line = self.line;
        let value = if self.accept("-")? {
            let value = self.signed()?;
            calculate("-", &Value::from(0), &value).ok_or(Syntax {
                line,
                message: format!("found `-` before {}", kind(&value)),
            })?
        } else if self.accept("+")? {
            self.signed()?
        } else {
            self.atom()?
        };
        self.depth -= 1;
        Ok(value)
    }

    fn join(
        &mut self,
        operator: &str,
        left: Value,
        right: Value,
        line: usize,
    ) -> Result<Value, Syntax> {
        let value = match (operator, &left, &right) {
            ("+", Value::String(a), Value::String(b)) => {
                self.spend(a.len() + b.len())?;
                Some(Value::from(format!("{a}{b}")))
            }
            ("+", Value::Array(a), Value::Array(b)) => Some([a.as_slice(), b].concat().into()),
            ("*", Value::Array(list), Value::Number(times)) => {
                let times = times.as_u64().map(|times| times as usize);
                self.spend(size(&left).saturating_mul(times.unwrap_or(0)))?;
                times.map(|times| vec![list.as_slice(); times].concat().into())
            }
            _ => calculate(operator, &left, &right),
        };
        value.ok_or_else(|| Syntax {
            line,
            message: format!(
                "found `{operator}` between {} and {}",
                kind(&left),
                kind(&right)
            ),
        })
    }

    fn atom(&mut self) -> Result<Value, Syntax> {
        self.spend(1)?;
        let line = self.line;
        match self.advance()? {
            Token::Int(number) => Ok(number.into()),
            Token::Float(number) => Ok(number.into()),
            Token::Str(text) => self.strings(text),
            Token::Name(name) => self.named(name, line),
            Token::Symbol("(") => self.group(),
            Token::Symbol("[") => Ok(self.items("]")?.into()),
            Token::Symbol("{") => self.dictionary(),
            word => Err(Syntax {
                line,
                message: format!("found {}; expected a value", word.found()),
            }),
        }
    }

    /// Strings that follow one another are one.
    fn strings(&mut self, mut text: String) -> Result<Value, Syntax> {
        self.spend(text.len())?;
        while let Token::Str(more) = &self.next {
            text.push_str(more);
            self.spend(text.len())?;
            self.advance()?;
        }
        Ok(text.into())
    }

    fn named(&mut self, name: String, line: usize) -> Result<Value, Syntax> {
        let called = self.at("(");
        match name.as_str() {
            "True" => Ok(true.into()),
            "False" => Ok(false.into()),
            "None" => Ok(Value::Null),
            "dict" if called => self.keywords(),
            "range" if called => self.range(line),
            _ if called => Err(Syntax {
                line,
                message: format!("found a call of `{name}`; only `dict` and `range` are known"),
            }),
            _ => {
                let value = self.names.get(&name).cloned();
                let unknown = format!("found `{name}`, which no line before assigns");
                let value = value.ok_or(Syntax {
                    line,
                    message: unknown,
                })?;
                self.spend(size(&value))?;
                Ok(value)
            }
        }
    }

    /// The keyword arguments of `dict`.
    fn keywords(&mut self) -> Result<Value, Syntax> {
        self.need("(")?;
        let mut map = Map::new();
        while !self.accept(")")? {
            let Token::Name(key) = &self.next else {
                return Err(self.expected("a keyword argument or `)`"));
            };
            let key = key.clone();
            self.advance()?;
            self.need("=")?;
            self.entry(&mut map, key)?;
            if !self.at(")") {
                self.need(",")?;
            }
        }
        Ok(map.into())
    }

    fn dictionary(&mut self) -> Result<Value, Syntax> {
        let mut map = Map::new();
        while !self.accept("}")? {
            let key = match self.value()? {
                Value::String(key) => key,
                Value::Number(key) => key.to_string(),
                other => return Err(self.error(format!("found {} as a key", kind(&other)))),
            };
            self.need(":")?;
            self.entry(&mut map, key)?;
            if !self.at("}") {
                self.need(",")?;
            }
        }
        Ok(map.into())
    }

    fn entry(&mut self, map: &mut Map<String, Value>, key: String) -> Result<(), Syntax> {
        let line = self.line;
        self.spend(key.len())?;
        let value = self.value()?;
        if map.contains_key(&key) {
            let message = format!("found the key `{key}` twice");
            return Err(Syntax { line, message });
        }
        map.insert(key, value);
        Ok(())
    }

    /// The values up to a closing bracket.
    fn items(&mut self, end: &'static str) -> Result<Vec<Value>, Syntax> {
        let mut items = Vec::new();
        while !self.accept(end)? {
            items.push(self.value()?);
            if !self.at(end) {
                self.need(",")?;
            }
        }
        Ok(items)
    }

    /// A tuple, or a value in brackets.
    fn group(&mut self) -> Result<Value, Syntax> {
        if self.accept(")")? {
            return Ok(Value::Array(Vec::new()));
        }
        let first = self.value()?;
        if self.accept(")")? {
            return Ok(first);
        }
        self.need(",")?;
        let mut items = vec![first];
        items.extend(self.items(")")?);
        Ok(items.into())
    }

    /// The numbers of `range(end)` or `range(start, end)`.
    fn range(&mut self, line: usize) -> Result<Value, Syntax> {
        self.need("(")?;
        let arguments = self.items(")")?;
        let ends: Option<Vec<i64>> = arguments.iter().map(Value::as_i64).collect();
        let (start, end) = match ends.as_deref() {
            Some([end]) => (0, *end),
            Some([start, end]) => (*start, *end),
            _ => {
                let message = "found `range` without one or two whole numbers".to_owned();
                return Err(Syntax { line, message });
            }
        };
        let length = end.saturating_sub(start).max(0);
        self.spend(usize::try_from(length).unwrap_or(usize::MAX))?;
        Ok((start..end).collect::<Vec<i64>>().into())
    }
}

/// What Python gives for two numbers; nothing for other values, and where it fails.
fn calculate(operator: &str, left: &Value, right: &Value) -> Option<Value> {
    if let (Some(a), Some(b)) = (left.as_i64(), right.as_i64()) {
        let whole = match operator {
            "+" => a.checked_add(b),
            "-" => a.checked_sub(b),
            "*" => a.checked_mul(b),
            "//" => floored(a, b),
            _ => return quotient(a as f64, b as f64),
        };
        return whole.map(Value::from);
    }
    let (a, b) = (left.as_f64()?, right.as_f64()?);
    match operator {
        "+" => finite(a + b),
        "-" => finite(a - b),
        "*" => finite(a * b),
        "/" => quotient(a, b),
        _ => None,
    }
}

fn floored(a: i64, b: i64) -> Option<i64> {
    let quotient = a.checked_div(b)?;
    let rest = a.checked_rem(b)?;
    Some(quotient - i64::from(rest != 0 && (rest < 0) != (b < 0)))
}

fn quotient(a: f64, b: f64) -> Option<Value> {
    finite(a / b)
}

fn finite(number: f64) -> Option<Value> {
    Number::from_f64(number).map(Value::Number)
}

/// Values within a value, itself included, and bytes of strings.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + size(value)).sum(),
        _ => 0,
    }
}

/// What a value is, in Python's words.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "`None`",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a dictionary",
    }
}

#[cfg(test)]
mod tests;
