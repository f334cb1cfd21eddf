//! Exit codes and how errors are shown.

use std::io::Write;
use std::process::ExitCode;

/// How the program ends. The numbers are part of the command line's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: done.
    Success,
    /// 1: something failed; standard error says what.
    Failure,
    /// 2: the command line is wrong.
    Usage,
    /// 3: the update run that was waited for ended as Failed.
    UpdateRunFailed,
    /// 4: the update run that was waited for was stopped before it was done.
    UpdateRunStopped,
    /// 5: the placement that was waited for was not in place when the time was over.
    PlacementIncomplete,
}

impl Exit {
    /// Every code with its meaning, for the reference.
    pub(crate) const ALL: [(Self, &'static str); 6] = [
        (Self::Success, "done"),
        (Self::Failure, "something failed; standard error says what"),
        (Self::Usage, "the command line is wrong"),
        (Self::UpdateRunFailed, "the update run that was waited for ended as Failed"),
        (
            Self::UpdateRunStopped,
            "the update run that was waited for was stopped before it was done",
        ),
        (
            Self::PlacementIncomplete,
            "the placement that was waited for was not in place when the time was over",
        ),
    ];

    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::UpdateRunFailed => 3,
            Self::UpdateRunStopped => 4,
            Self::PlacementIncomplete => 5,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error that knows what the user can do about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Hinted {
    message: String,
    hint: String,
}

impl Hinted {
    pub(crate) fn error(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
        Self { message: message.into(), hint: hint.into() }.into()
    }
}

/// Prints an error with its causes on one line, then a hint if there is one.
pub(crate) fn report(error: &anyhow::Error) -> Exit {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // Some errors repeat their cause in their own text.
        if !text.contains(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    let mut stderr = std::io::stderr().lock();
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(stderr, "error: {text}");
    if let Some(hinted) = error.chain().find_map(|cause| cause.downcast_ref::<Hinted>()) {
        let _ = writeln!(stderr, "hint: {}", hinted.hint);
    }
    Exit::Failure
}
