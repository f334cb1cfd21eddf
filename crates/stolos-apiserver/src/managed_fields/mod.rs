//! Field ownership: server-side apply and the bookkeeping of every other write.
