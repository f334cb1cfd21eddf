//! The data plane in network namespaces: clients, balancer and endpoints are machines of their own, joined by cables.
//!
//! Neither root nor other programs are needed: the process makes itself root of a user namespace. Where the kernel or
//! its configuration forbids that, one line says so and nothing is run.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

#[path = "../it/authority.rs"]
mod authority;
mod cases;
mod gateways;
mod netlink;
mod plane;
mod service;
mod world;

#[expect(clippy::print_stdout, reason = "skipped tests must be seen")]
fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if let Err(error) = world::enter() {
        println!("skipped: this system gives no network namespaces to tests ({error})");
        return ExitCode::SUCCESS;
    }
    // Each of them loads all cores.
    arguments.test_threads = Some(1);
    let trials = cases::ALL.iter().map(|(name, case)| {
        let case = *case;
        Trial::test(*name, move || {
            case();
            Ok(())
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
