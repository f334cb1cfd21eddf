//! What controllers do that look by name for what lists do not show, before anything is taken away because of it: that a
//! list leaves something out proves nothing.

use std::fmt::Debug;

use kube::Client;
use stolos_controller::{Change, Effect, Stored, Write};

/// What may be gone.
pub(crate) trait Sought<O>: Clone + Debug + Send + Sync + 'static {
    /// Asks for it by name.
    fn find(&self, client: &Client) -> impl Future<Output = Result<Option<O>, kube::Error>> + Send;
}

/// What a controller learns of.
#[derive(Clone, Debug)]
pub(crate) enum Seen<O, S> {
    Object(O),
    /// It was asked for by name, and is not there.
    Absent(S),
    /// It was asked for by name, and is as it was told just before.
    Found(S),
}

/// What a controller does.
#[derive(Debug)]
pub(crate) enum Act<O, S> {
    Write(Write<O>),
    Look(S),
}

impl<O: Stored, S: Sought<O>> Effect for Act<O, S> {
    type Object = Seen<O, S>;

    async fn carry_out(&self, client: &Client) -> Result<Vec<Change<Seen<O, S>>>, kube::Error> {
        match self {
            Self::Write(write) => {
                let changes = write.carry_out(client).await?;
                Ok(changes.into_iter().map(|change| change.map(Seen::Object)).collect())
            }
            Self::Look(sought) => {
                let seen = match sought.find(client).await? {
                    Some(found) => vec![Seen::Object(found), Seen::Found(sought.clone())],
                    None => vec![Seen::Absent(sought.clone())],
                };
                Ok(seen.into_iter().map(Change::Applied).collect())
            }
        }
    }
}
