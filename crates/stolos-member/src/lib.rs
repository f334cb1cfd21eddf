//! Member agent: joins, applies, reports.
