//! What profiles do, told as histories, and what must hold in all of them.

mod channels;
mod histories;
mod player;
mod properties;
