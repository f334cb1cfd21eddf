//! The steps of the tour as they are printed: number, title, duration, and what did not hold.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use super::expect::Unmet;
use crate::output;

/// How long one step may take. The waits in it are shorter, so that they get to say what they waited for.
const STEP_WITHIN: Duration = Duration::from_secs(25);

/// Column in which durations end.
const WIDTH: usize = 98;

/// A tour under way.
pub(super) struct Tour {
    began: Instant,
    steps: u32,
}

impl Tour {
    pub(super) fn begin() -> Self {
        Self { began: Instant::now(), steps: 0 }
    }

    /// Takes a step and prints how it went; returns `None` when it did not hold.
    pub(super) async fn step<T>(
        &mut self,
        title: &str,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<Option<T>> {
        self.steps += 1;
        let began = Instant::now();
        let done = tokio::time::timeout(STEP_WITHIN, work).await;
        let took = began.elapsed();
        match done {
            Ok(Ok(value)) => {
                output::line(&step_line('✓', self.steps, title, took))?;
                Ok(Some(value))
            }
            Ok(Err(error)) => {
                output::line(&step_line('✗', self.steps, title, took))?;
                output::line(&reason(&error))?;
                Ok(None)
            }
            Err(_) => {
                output::line(&step_line('✗', self.steps, title, took))?;
                output::line(&format!("     it was not done within {} s", STEP_WITHIN.as_secs()))?;
                Ok(None)
            }
        }
    }

    pub(super) fn summary(&self) -> String {
        let seconds = self.began.elapsed().as_secs_f64();
        format!(
            "\n{} steps held, in {seconds:.1} s. `stolos up` starts such a fleet for you.",
            self.steps
        )
    }
}

fn step_line(mark: char, number: u32, title: &str, took: Duration) -> String {
    let head = format!("{mark} {number:>2}  {title}");
    let took = format!("{} ms", took.as_millis());
    let gap = WIDTH.saturating_sub(head.chars().count()).max(took.len() + 2);
    format!("{head}{took:>gap$}")
}

fn reason(error: &anyhow::Error) -> String {
    if let Some(Unmet { place, expected, seen }) = error.downcast_ref() {
        return format!("     where:    {place}\n     expected: {expected}\n     seen:     {seen}");
    }
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    format!("     {}", causes.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_stand_in_one_column_where_titles_leave_room() {
        let line = |title: &str, ms| step_line('✓', 3, title, Duration::from_millis(ms));
        assert_eq!(line("short", 7).chars().count(), WIDTH);
        assert_eq!(line("longer", 1234).chars().count(), WIDTH);
        assert!(line(&"x".repeat(90), 5).ends_with("xx  5 ms"));
    }

    #[test]
    fn a_failure_says_what_was_expected_and_what_was_seen() {
        let error = anyhow::Error::from(Unmet {
            place: "member-2".to_owned(),
            expected: "Deployment `web` with 2 available replicas".to_owned(),
            seen: "1 available".to_owned(),
        });
        insta::assert_snapshot!(reason(&error), @"
        where:    member-2
        expected: Deployment `web` with 2 available replicas
        seen:     1 available
        ");
    }
}
