//! An agent between two API servers: what it learns of either side, and what it does there.

use std::fmt::Debug;

use kube::Client;
use stolos_controller::{Change, Effect, Stored, Write};

/// What an agent learns of.
#[derive(Clone, Debug)]
pub(super) enum Seen<H, M, S> {
    /// An object of the hub.
    Hub(H),
    /// An object of the member.
    Member(M),
    /// It was asked for by name, and is not there.
    Absent(S),
    /// It was asked for by name, and is as it was told just before.
    Found(S),
}

/// An object that may be gone. That a list leaves it out proves nothing, so it is asked for by name before anything is
/// taken away or made because of it.
pub(super) trait Sought<H, M>: Clone + Debug + Send + Sync + 'static {
    fn find(
        &self,
        hub: &Client,
        member: &Client,
    ) -> impl Future<Output = Result<Option<Seen<H, M, Self>>, kube::Error>> + Send;
}

/// One thing to do.
pub(super) enum Act<H, M, S> {
    /// Writes on the hub.
    Hub(Write<H>),
    /// Writes on the member.
    Member(Client, Write<M>),
    /// Looks for an object; the client is that of the member.
    Look(Client, S),
    /// Does something in this process that the step before has noted.
    Here(Box<dyn Fn() + Send + Sync>),
}

impl<H: Stored, M: Stored, S: Sought<H, M>> Effect for Act<H, M, S> {
    type Object = Seen<H, M, S>;

    async fn carry_out(&self, hub: &Client) -> Result<Vec<Change<Self::Object>>, kube::Error> {
        match self {
            Self::Hub(write) => {
                let changes = write.carry_out(hub).await?;
                Ok(changes.into_iter().map(|change| change.map(Seen::Hub)).collect())
            }
            Self::Member(member, write) => {
                let changes = write.carry_out(member).await?;
                Ok(changes.into_iter().map(|change| change.map(Seen::Member)).collect())
            }
            Self::Look(member, sought) => {
                let seen = match sought.find(hub, member).await? {
                    Some(found) => vec![found, Seen::Found(sought.clone())],
                    None => vec![Seen::Absent(sought.clone())],
                };
                Ok(seen.into_iter().map(Change::Applied).collect())
            }
            Self::Here(act) => {
                act();
                Ok(Vec::new())
            }
        }
    }
}

/// Makes what an agent learns of from objects of either side.
macro_rules! seen {
    ($seen:ident; $($variant:ident: $($kind:ty),* $(,)?;)*) => {
        $($(impl From<$kind> for $seen {
            fn from(object: $kind) -> Self {
                Self::$variant(object.into())
            }
        })*)*
    };
}
pub(super) use seen;
