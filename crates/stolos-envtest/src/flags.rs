//! Flags as Go programs take them: `--name=value`, `--name value`, `--name`, repeated at will.
//!
//! Unknown flags are ignored, because a suite may pass any of the hundreds that the real programs have.

use std::collections::BTreeMap;
use std::fmt::Write;

/// A flag that a program reads.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Name without dashes.
    pub name: &'static str,
    /// Name of its value in the help; empty for a switch.
    pub value: &'static str,
    /// What it is for, in one line.
    pub help: &'static str,
}

/// The flags of a command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags(BTreeMap<String, Vec<String>>);

impl Flags {
    /// Returns whether a switch is on.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.last(name).is_some_and(|value| value != "false")
    }

    /// Returns the value given last, which is the one that counts.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.last().map(String::as_str)
    }

    /// Returns the elements of a list, which may be given with commas or by repeating the flag.
    pub fn list(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.0.get(name).into_iter().flatten();
        values.flat_map(|value| value.split(',')).map(str::trim).filter(|value| !value.is_empty())
    }
}

/// Reads a command line. Only flags that are known to take one get the next argument as their value.
pub fn parse(known: &[Flag], arguments: impl IntoIterator<Item = String>) -> Flags {
    let mut flags = Flags::default();
    let mut arguments = arguments.into_iter().peekable();
    while let Some(argument) = arguments.next() {
        let Some(flag) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
            continue;
        };
        let (name, value) = if let Some((name, value)) = flag.split_once('=') {
            (name, value.to_owned())
        } else {
            let takes_value =
                known.iter().any(|known| known.name == flag && !known.value.is_empty());
            let value = takes_value.then(|| arguments.next_if(|next| !next.starts_with("--")));
            (flag, value.flatten().unwrap_or_else(|| "true".to_owned()))
        };
        let name = if name == "h" { "help" } else { name };
        flags.0.entry(name.to_owned()).or_default().push(value);
    }
    flags
}

/// Returns the help of a program: a line per flag, which envtest searches for the flags it may pass.
#[must_use]
pub fn help(usage: &str, known: &[Flag]) -> String {
    let mut text = format!("{usage}\n\nFlags:\n");
    let shown = |flag: &Flag| format!("--{} {}", flag.name, flag.value);
    let width = known.iter().map(|flag| shown(flag).len()).max().unwrap_or_default();
    for flag in known {
        writeln!(text, "      {:width$}   {}", shown(flag), flag.help)
            .expect("writing to a string cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Flag] = &[
        Flag { name: "cert-dir", value: "directory", help: "Certificates." },
        Flag { name: "quiet", value: "", help: "Less." },
    ];

    fn parsed(line: &str) -> Flags {
        parse(KNOWN, line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn values_are_given_with_or_without_an_equals_sign() {
        assert_eq!(parsed("--cert-dir=/a").last("cert-dir"), Some("/a"));
        assert_eq!(parsed("--cert-dir /a --quiet").last("cert-dir"), Some("/a"));
        assert_eq!(parsed("-cert-dir /a").last("cert-dir"), Some("/a"));
        assert_eq!(parsed("--cert-dir=a=b").last("cert-dir"), Some("a=b"));
    }

    #[test]
    fn the_last_value_counts_and_lists_gather_all() {
        let flags = parsed("--cert-dir=a,b --cert-dir=c");
        assert_eq!(flags.last("cert-dir"), Some("c"));
        assert_eq!(flags.list("cert-dir").collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn a_switch_takes_no_value_and_can_be_switched_off() {
        let flags = parsed("--quiet word");
        assert!(flags.is_set("quiet"));
        assert!(!parsed("--quiet=false").is_set("quiet"));
        assert!(!parsed("").is_set("quiet"));
    }

    #[test]
    fn unknown_flags_and_words_do_no_harm() {
        let flags = parsed("--feature-gates=A=true --strange value --cert-dir=/a");
        assert_eq!(flags.last("cert-dir"), Some("/a"));
        assert!(parsed("-h").is_set("help"));
    }

    #[test]
    fn the_help_has_a_line_for_each_flag() {
        let text = help("A program.", KNOWN);
        assert!(text.contains("\n      --cert-dir directory   Certificates.\n"), "{text}");
        assert!(text.contains("\n      --quiet                Less.\n"), "{text}");
    }
}
