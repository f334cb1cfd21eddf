//! The decisions of Stolos: pure functions from plain data to plain data.
