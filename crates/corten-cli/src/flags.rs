//! Flags as data, and a command line read against them.
//!
//! A command's flags are a `const` table with a setter a flag: nothing is built before the command line is
//! read, so a start touches no heap for the hundred flags that were not given. (`clap` builds 400 KB for
//! `run`, a hundred page faults and 0.4 ms, and the monitor would inherit them.) The rules are pflag's,
//! Docker's library: a later flag replaces an earlier one, `-itu 0` are three flags, switches take
//! `=false`, a value may look like a flag. [`crate::commands::tree`] gives the same tables to clap, for
//! completions and manual pages.

use std::path::PathBuf;

use crate::report::{ENGINE_FAILED, Report};
use crate::values;

/// One flag.
#[derive(Debug)]
pub(crate) struct Meta {
    pub long: &'static str,
    pub short: Option<char>,
    /// The name of its value; `None`: it takes one only as `=value`, and is `true` without.
    pub value: Option<&'static str>,
    /// With a space before each line.
    pub help: &'static str,
}

/// A flag of the struct `S`.
pub(crate) struct Flag<S> {
    pub meta: Meta,
    pub set: fn(&mut S, &str) -> Result<(), String>,
}

/// What [`flags!`] makes of a struct.
pub(crate) trait FlagSet: Default {
    fn count() -> usize;
    fn meta(index: usize) -> &'static Meta;
    fn set(&mut self, index: usize, text: &str) -> Result<(), String>;

    fn find(fits: impl Fn(&Meta) -> bool) -> Option<usize> {
        (0..Self::count()).find(|index| fits(Self::meta(*index)))
    }

    fn metas() -> Vec<&'static Meta> {
        (0..Self::count()).map(Self::meta).collect()
    }
}

/// How a value goes into its field: the last one stays, lists grow.
pub(crate) trait Field {
    type Item;
    fn put(&mut self, item: Self::Item);
}

impl Field for bool {
    type Item = bool;
    fn put(&mut self, item: bool) {
        *self = item;
    }
}

impl<T> Field for Option<T> {
    type Item = T;
    fn put(&mut self, item: T) {
        *self = Some(item);
    }
}

impl<T> Field for Vec<T> {
    type Item = T;
    fn put(&mut self, item: T) {
        self.push(item);
    }
}

/// Parsers of plain values.
pub(crate) fn text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

pub(crate) fn path(text: &str) -> Result<PathBuf, String> {
    Ok(PathBuf::from(text))
}

/// A struct of flags and its table. An entry is
///
/// - `field: bool = "long" 's';` a switch,
/// - `field: Option<T> = "long" 's' ["value", parser];` the last one counts,
/// - `field: Vec<T> = "long" 's' ["value", parser];` all count,
/// - `field: Option<T> = "long" (parser);` a switch that takes more than true and false.
///
/// The doc comment is the help text; the short letter may be left out. `..field: Type;` at the head takes in
/// the flags of another struct.
macro_rules! flags {
    (
        $(#[$attribute:meta])*
        $vis:vis struct $name:ident {
            $(..$flat:ident: $flat_ty:ty;)?
            $(
                $(#[doc = $help:literal])+
                $field:ident: $ty:ty = $long:literal $($short:literal)? $([$value:literal, $parse:expr])?
                    $(($switch:expr))?;
            )*
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Default)]
        $vis struct $name {
            $($flat: $flat_ty,)?
            $(pub(crate) $field: $ty,)*
        }

        impl $name {
            const FLAGS: &'static [$crate::flags::Flag<Self>] = &[$(
                $crate::flags::Flag {
                    meta: $crate::flags::Meta {
                        long: $long,
                        short: $crate::flags::flags!(@option $($short)?),
                        value: $crate::flags::flags!(@option $($value)?),
                        help: concat!($($help),+),
                    },
                    set: |flags, text| {
                        let value = $crate::flags::flags!(@parse text $([$parse])? $(($switch))?);
                        $crate::flags::Field::put(&mut flags.$field, value.map_err(|e| e.to_string())?);
                        Ok(())
                    },
                },
            )*];
        }

        impl $crate::flags::FlagSet for $name {
            fn count() -> usize {
                Self::FLAGS.len() $(+ <$flat_ty as $crate::flags::FlagSet>::count())?
            }
            fn meta(index: usize) -> &'static $crate::flags::Meta {
                $(if index >= Self::FLAGS.len() {
                    return <$flat_ty as $crate::flags::FlagSet>::meta(index - Self::FLAGS.len());
                })?
                &Self::FLAGS[index].meta
            }
            fn set(&mut self, index: usize, text: &str) -> Result<(), String> {
                $(if index >= Self::FLAGS.len() {
                    return $crate::flags::FlagSet::set(&mut self.$flat, index - Self::FLAGS.len(), text);
                })?
                (Self::FLAGS[index].set)(self, text)
            }
        }
    };
    (@option) => { None };
    (@option $value:literal) => { Some($value) };
    (@parse $text:ident) => { $crate::values::switch($text) };
    (@parse $text:ident [$parse:expr]) => { ($parse)($text) };
    (@parse $text:ident ($switch:expr)) => { ($switch)($text) };
}
pub(crate) use flags;

/// How to read one command's words.
pub(crate) struct Rules {
    /// Flags may come after arguments.
    pub interspersed: bool,
    /// Known, and never to be had.
    pub refused: &'static [Refused],
    /// Known and in the table, waiting for their feature.
    pub not_yet: &'static [(&'static str, &'static str)],
}

/// A flag that is only there to be refused by name.
pub(crate) struct Refused {
    pub meta: Meta,
    pub reason: &'static str,
}

/// What a command line was.
pub(crate) enum Parsed<S> {
    Help,
    /// The flags, and the arguments among and after them.
    Flags(S, Vec<String>),
}

impl Rules {
    /// Why a flag is refused, if it is.
    pub(crate) fn reason(&self, long: &str) -> Option<&'static str> {
        let refused = self.refused.iter().find(|flag| flag.meta.long == long).map(|flag| flag.reason);
        refused.or_else(|| self.not_yet.iter().find(|(known, _)| *known == long).map(|(_, reason)| *reason))
    }

    pub(crate) fn parse<S: FlagSet>(&self, words: Vec<String>) -> Result<Parsed<S>, Report> {
        let mut parser = Parser { rules: self, flags: S::default(), words: words.into_iter() };
        let mut arguments = Vec::new();
        while let Some(word) = parser.words.next() {
            if word == "--" {
                arguments.extend(parser.words);
                break;
            } else if let Some(long) = word.strip_prefix("--") {
                if long == "help" {
                    return Ok(Parsed::Help);
                }
                parser.long(long)?;
            } else if word.len() > 1 && word.starts_with('-') {
                if !parser.cluster(&word[1..])? {
                    return Ok(Parsed::Help);
                }
            } else {
                arguments.push(word);
                if !self.interspersed {
                    arguments.extend(parser.words);
                    break;
                }
            }
        }
        Ok(Parsed::Flags(parser.flags, arguments))
    }
}

struct Parser<'a, S> {
    rules: &'a Rules,
    flags: S,
    words: std::vec::IntoIter<String>,
}

impl<S: FlagSet> Parser<'_, S> {
    /// `name` or `name=value`, without its dashes.
    fn long(&mut self, word: &str) -> Result<(), Report> {
        let (given, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        // Docker's older names.
        let name = match given {
            "dns-opt" => "dns-option",
            "net" => "network",
            "net-alias" => "network-alias",
            name => name,
        };
        let Some(index) = S::find(|meta| meta.long == name) else {
            return Err(match self.rules.reason(name) {
                Some(reason) => refuse(format!("--{given} is refused: {reason}")),
                None => self.unknown(given),
            });
        };
        if S::meta(index).value.is_none() {
            return self.set(index, value.unwrap_or("true"));
        }
        match value {
            Some(value) => self.set(index, value),
            None => match self.words.next() {
                Some(value) => self.set(index, &value),
                None => Err(refuse(format!("flag needs an argument: --{given}"))),
            },
        }
    }

    /// `it` of `-it`, `eK=V` of `-eK=V`. False: help was asked for.
    fn cluster(&mut self, letters: &str) -> Result<bool, Report> {
        let mut rest = letters;
        while let Some(letter) = rest.chars().next() {
            let after = &rest[letter.len_utf8()..];
            let Some(index) = S::find(|meta| meta.short == Some(letter)) else {
                if letter == 'h' {
                    return Ok(false);
                }
                return Err(refuse(format!("unknown shorthand flag: {letter:?} in -{rest}")));
            };
            let attached = after.strip_prefix('=');
            if S::meta(index).value.is_none() {
                if let Some(value) = attached {
                    return self.set(index, value).map(|()| true);
                }
                self.set(index, "true")?;
                rest = after;
                continue;
            }
            return match (attached.unwrap_or(after), attached.is_some()) {
                ("", false) => match self.words.next() {
                    Some(value) => self.set(index, &value),
                    None => Err(refuse(format!("flag needs an argument: {letter:?} in -{rest}"))),
                },
                (value, _) => self.set(index, value),
            }
            .map(|()| true);
        }
        Ok(true)
    }

    fn set(&mut self, index: usize, text: &str) -> Result<(), Report> {
        let meta = S::meta(index);
        let off = meta.value.is_none() && values::switch(text) == Ok(false);
        if let Some(reason) = self.rules.reason(meta.long).filter(|_| !off) {
            return Err(refuse(format!("--{} is refused: {reason}", meta.long)));
        }
        self.flags.set(index, text).map_err(|error| values::invalid(&spelling(meta), text, error))
    }

    fn unknown(&self, given: &str) -> Report {
        let report = refuse(format!("unknown flag: --{given}"));
        let all = S::metas().into_iter().chain(self.rules.refused.iter().map(|flag| &flag.meta));
        match nearest(given, all.map(|meta| meta.long)) {
            Some(known) => report.hint(format!("did you mean --{known}?")),
            None => report,
        }
    }
}

/// `-m, --memory`, as pflag names a flag in its errors.
pub(crate) fn spelling(meta: &Meta) -> String {
    match meta.short {
        Some(short) => format!("-{short}, --{}", meta.long),
        None => format!("--{}", meta.long),
    }
}

fn refuse(message: String) -> Report {
    Report::user(message).status(ENGINE_FAILED)
}

/// The known word that was probably meant.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, other) = known.map(|other| (distance(word, other), other)).min()?;
    (distance <= 2 && distance < word.len()).then_some(other)
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let here = row[j + 1];
            row[j + 1] = (before + usize::from(x != *y)).min(here + 1).min(row[j] + 1);
            before = here;
        }
    }
    row[b.len()]
}
