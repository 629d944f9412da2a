//! `--detach-keys`: the keys that leave an attached container and let it go on, and how they are spotted
//! among what is typed. The syntax is Docker's: single characters, `ctrl-` and a letter or one of
//! `@[\]^_`, and `DEL`, separated by commas.

/// The bytes of the sequence, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

impl Default for DetachKeys {
    /// `ctrl-p,ctrl-q`.
    fn default() -> Self {
        Self(vec![0x10, 0x11])
    }
}

impl std::str::FromStr for DetachKeys {
    type Err = String;

    /// Nothing at all is the default.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let keys = text.split(',').map(key).collect::<Option<_>>();
        keys.map(Self).ok_or_else(|| format!("invalid detach keys ({text}) provided"))
    }
}

impl std::fmt::Display for DetachKeys {
    /// As it is parsed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, &byte) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            match byte {
                0x7f => f.write_str("DEL")?,
                1..=26 => write!(f, "ctrl-{}", char::from(byte | 0x60))?,
                0..0x20 => write!(f, "ctrl-{}", char::from(byte | 0x40))?,
                byte => write!(f, "{}", char::from(byte))?,
            }
        }
        Ok(())
    }
}

/// One key as the byte that a terminal sends for it.
fn key(name: &str) -> Option<u8> {
    match *name.as_bytes() {
        [byte] => Some(byte),
        [b'c', b't', b'r', b'l', b'-', letter @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')] => {
            Some(letter & 0x1f)
        }
        [b'D', b'E', b'L'] => Some(0x7f),
        _ => None,
    }
}

/// Looks for the keys in a stream. What may be their beginning is held back until the next key tells.
#[derive(Debug)]
pub(crate) struct Spotter<'a> {
    keys: &'a [u8],
    /// So many of the keys have been seen and not passed on.
    held: usize,
}

impl<'a> Spotter<'a> {
    pub(crate) fn new(keys: &'a DetachKeys) -> Self {
        Self { keys: &keys.0, held: 0 }
    }

    /// Appends to `out` what is to be passed on of `typed`; true if the keys were in it. What was typed
    /// after them is dropped.
    pub(crate) fn feed(&mut self, typed: &[u8], out: &mut Vec<u8>) -> bool {
        for &byte in typed {
            if self.keys[self.held] == byte {
                self.held += 1;
                if self.held == self.keys.len() {
                    self.held = 0;
                    return true;
                }
                continue;
            }
            // The longest beginning of the keys that what was held and this byte end with.
            let mut seen = self.keys[..self.held].to_vec();
            seen.push(byte);
            let passed =
                (1..=seen.len()).find(|&from| self.keys.starts_with(&seen[from..])).unwrap_or(seen.len());
            out.extend_from_slice(&seen[..passed]);
            self.held = seen.len() - passed;
        }
        false
    }

    /// What is held back, when no more comes.
    pub(crate) fn end(&mut self) -> &'a [u8] {
        &self.keys[..std::mem::take(&mut self.held)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_back() {
        for text in ["ctrl-p,ctrl-q", "a,DEL", "ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_,x", "-"] {
            let keys: DetachKeys = text.parse().unwrap();
            assert_eq!(keys.to_string(), text);
        }
    }

    #[test]
    fn names_become_the_bytes_that_a_terminal_sends() {
        let keys = |text: &str| text.parse::<DetachKeys>().map(|keys| keys.0);
        assert_eq!(keys("ctrl-p,ctrl-q").unwrap(), DetachKeys::default().0);
        assert_eq!(keys("").unwrap(), DetachKeys::default().0);
        assert_eq!(keys("a,ctrl-@,ctrl-[,ctrl-_,DEL,-").unwrap(), [b'a', 0, 27, 31, 127, b'-']);
        for bad in ["ctrl-A", "ctrl-1", "ctrl-", "ctrl-aa", "del", "ab", ",", "a,", "é", "ctrl-a ctrl-b"] {
            assert_eq!(keys(bad).unwrap_err(), format!("invalid detach keys ({bad}) provided"));
        }
    }

    /// Every stream of up to seven keys of two, in every cut: the same as a search in the whole.
    #[test]
    fn the_keys_are_spotted_wherever_they_are_cut() {
        for keys in ["a", "a,b", "a,a,b", "a,b,a,a"] {
            let keys: DetachKeys = keys.parse().unwrap();
            for length in 0..=7 {
                for bits in 0..1u32 << length {
                    let stream: Vec<u8> = (0..length).map(|at| b'a' + (bits >> at & 1) as u8).collect();
                    let found = stream.windows(keys.0.len()).position(|window| window == keys.0);
                    for cut in 0..=length {
                        let (mut spotter, mut out) = (Spotter::new(&keys), Vec::new());
                        let mut left = spotter.feed(&stream[..cut], &mut out);
                        left = left || spotter.feed(&stream[cut..], &mut out);
                        assert_eq!(left, found.is_some(), "{keys:?} {stream:?} {cut}");
                        out.extend_from_slice(spotter.end());
                        assert_eq!(out, stream[..found.unwrap_or(length)], "{keys:?} {stream:?} {cut}");
                    }
                }
            }
        }
    }
}
