//! Event subscriptions on the hub: posts signed CloudEvents about gates and update runs to receivers.
//!
//! A controller of its own, so that a receiver that does not answer holds up nothing else. What a receiver took is
//! written into the subscription's status after its answer; a crash in between sends the event again under the same id.

use kube::Client;
use kube::api::Api;
use stolos_api::update::{EventSubscription, Gate, UpdateRun};
use stolos_controller::{Options, Watches};

mod controller;
mod effect;
mod message;
mod sign;

/// Runs the controller of event subscriptions until the future is dropped.
pub async fn run(client: Client, options: Options) {
    let watches = Watches::default()
        .add("EventSubscription", Api::<EventSubscription>::all(client.clone()))
        .add("Gate", Api::<Gate>::all(client.clone()))
        .add("UpdateRun", Api::<UpdateRun>::all(client.clone()));
    let options = Options { name: "event-subscription", ..options };
    stolos_controller::run(controller::Subscriptions::default(), client, watches, options).await;
}
