//! Keeps a host located: looked up when the engine starts, and again whenever DNS says that it may have changed.

use std::time::Duration;

use super::{Resolver, Site, Wanted};

/// Not more often, however short the TTL.
const SHORTEST: Duration = Duration::from_secs(5);
/// Not less often, however long: an operator who moves a trunk sees it move.
const LONGEST: Duration = Duration::from_secs(300);

/// Tells each finding until `tell` wants no more. What DNS said before stays good while DNS is down, so that a failure is
/// told only when nothing is known.
pub async fn keep_located(resolver: Resolver, wanted: Wanted, mut tell: impl FnMut(Result<Vec<Site>, String>) -> bool) {
    let mut warned = false;
    loop {
        let pause = match resolver.locate(&wanted).await {
            Ok(located) => {
                warned = false;
                if !tell(Ok(located.sites)) {
                    return;
                }
                located.good_for.clamp(SHORTEST, LONGEST)
            }
            Err(problem) => {
                if !warned {
                    tracing::warn!(host = %wanted.host, problem, "the host of a trunk cannot be found");
                    warned = true;
                }
                if !tell(Err(problem)) {
                    return;
                }
                SHORTEST
            }
        };
        tokio::time::sleep(pause).await;
    }
}
