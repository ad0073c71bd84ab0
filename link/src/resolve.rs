//! Looks up where a host is: again at every connect, for a name may come to mean another address.
//!
//! The system's look-up (`getaddrinfo`) blocks, and cannot be ended: without an answering name
//! server it takes as long as the system's configuration says. So it has a thread of its own, at
//! most one for a name and [`caps::LOOKUPS_MAX`] in all, and is waited for
//! [`caps::LOOKUP_TIME_MAX`] at most. An answer that comes later than that is kept for a moment,
//! for the next who asks: otherwise a slow name server would never be heard.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::caps;
use super::host::{Host, HostName};

/// The look-ups of this process.
#[derive(Debug, Default)]
struct Resolver {
    lookups: Mutex<BTreeMap<HostName, watch::Receiver<Option<Answer>>>>,
}

/// Why a name has no addresses.
#[derive(Debug, Clone, thiserror::Error)]
enum LookupError {
    /// What the system says.
    #[error("{0}")]
    System(#[source] Arc<io::Error>),
    #[error("it has no address")]
    NoAddress,
}

/// What a look-up came to.
#[derive(Debug, Clone)]
struct Answer {
    found: Result<Vec<IpAddr>, LookupError>,
    at: Instant,
}

/// The addresses of a host: see [`addresses_of`].
///
/// # Errors
/// As there.
pub(crate) async fn addresses(host: &Host, port: u16) -> io::Result<Vec<SocketAddr>> {
    match host {
        Host::Ip(ip) => Ok(vec![SocketAddr::new(*ip, port)]),
        Host::Name(name) => addresses_of(name, port).await,
    }
}

/// The addresses of a name, in the order in which the system would use them: 1 to
/// [`caps::HOST_ADDRESSES_MAX`].
///
/// # Errors
/// That the name does not resolve, or not in time. Asking again may help.
pub(crate) async fn addresses_of(name: &HostName, port: u16) -> io::Result<Vec<SocketAddr>> {
    static RESOLVER: OnceLock<Arc<Resolver>> = OnceLock::new();
    let failed = |why: &str| io::Error::other(format!("the name {name} does not resolve: {why}"));

    let mut lookup = RESOLVER.get_or_init(Arc::default).look_up(name).map_err(failed)?;
    let answered = timeout(caps::LOOKUP_TIME_MAX, lookup.wait_for(Option::is_some)).await;
    let answered = answered.map_err(|_late| failed("no name server has answered yet"))?;
    let answer = answered
        .ok()
        .and_then(|answer| answer.clone())
        .ok_or_else(|| failed("the look-up broke off"))?;
    let found = answer.found.map_err(|why| failed(&why.to_string()))?;
    Ok(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

impl Resolver {
    /// The look-up of a name that is under way or has just ended, or a new one.
    fn look_up(
        self: &Arc<Self>,
        name: &HostName,
    ) -> Result<watch::Receiver<Option<Answer>>, &'static str> {
        let mut lookups = self.lookups.lock();
        // What nobody came back for in time is forgotten, and what broke off with its runtime.
        lookups.retain(|_, lookup| {
            lookup.borrow().as_ref().map_or(lookup.has_changed().is_ok(), Answer::is_fresh)
        });
        if let Some(lookup) = lookups.get(name).cloned() {
            if lookup.borrow().is_some() {
                lookups.remove(name);
            }
            return Ok(lookup);
        }
        if lookups.len() >= caps::LOOKUPS_MAX {
            return Err("too many names are being looked up");
        }

        let (sender, lookup) = watch::channel(None);
        lookups.insert(name.clone(), lookup.clone());
        let (resolver, name) = (Arc::clone(self), name.clone());
        tokio::task::spawn_blocking(move || resolver.conclude(&name, &sender, ask_system(&name)));
        Ok(lookup)
    }

    /// Tells those who wait. When nobody does any more, the answer is left for the next who asks.
    fn conclude(
        &self,
        name: &HostName,
        sender: &watch::Sender<Option<Answer>>,
        found: Result<Vec<IpAddr>, LookupError>,
    ) {
        let mut lookups = self.lookups.lock();
        let waiting = sender.receiver_count().saturating_sub(1);
        if waiting > 0 {
            lookups.remove(name);
        }
        sender.send_replace(Some(Answer { found, at: Instant::now() }));
    }
}

impl Answer {
    fn is_fresh(&self) -> bool {
        self.at.elapsed() < caps::LATE_ANSWER_TIME
    }
}

/// Blocks until the system has an answer.
fn ask_system(name: &HostName) -> Result<Vec<IpAddr>, LookupError> {
    let found = (name.as_str(), 0).to_socket_addrs();
    let found = found.map_err(|error| LookupError::System(Arc::new(error)))?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for ip in found.map(|address| address.ip()) {
        if !addresses.contains(&ip) && addresses.len() < caps::HOST_ADDRESSES_MAX {
            addresses.push(ip);
        }
    }
    if addresses.is_empty() { Err(LookupError::NoAddress) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_is_on_the_loopback() {
        let found = addresses(&Host::localhost(), 7).await.unwrap();
        assert!(
            !found.is_empty() && found.iter().all(|at| at.ip().is_loopback() && at.port() == 7),
            "{found:?}"
        );
    }

    /// RFC 6761: no name under `invalid` ever resolves.
    #[tokio::test]
    async fn a_name_without_an_address_is_an_error_that_names_it() {
        let error = addresses(&"node-1.invalid".parse().unwrap(), 7).await.unwrap_err().to_string();
        assert!(error.contains("the name node-1.invalid does not resolve"), "{error}");
    }

    #[tokio::test]
    async fn an_answer_that_nobody_waited_for_is_given_once_to_the_next_who_asks() {
        let (resolver, Host::Name(name)) = (Arc::new(Resolver::default()), Host::localhost())
        else {
            unreachable!()
        };
        let (sender, lookup) = watch::channel(None);
        resolver.lookups.lock().insert(name.clone(), lookup);
        resolver.conclude(&name, &sender, Err(LookupError::NoAddress));

        let given = resolver.look_up(&name).unwrap().borrow().clone();
        let found = given.map(|answer| answer.found);
        assert!(matches!(found, Some(Err(LookupError::NoAddress))), "{found:?}");
        let mut anew = resolver.look_up(&name).unwrap();
        let found = anew.wait_for(Option::is_some).await.unwrap().clone().unwrap().found;
        assert!(found.is_ok(), "the next one is a look-up of its own: {found:?}");
        assert!(
            resolver.lookups.lock().is_empty(),
            "an answer in time is for those who wait alone"
        );
    }

    #[tokio::test]
    async fn an_answer_that_is_too_late_is_forgotten() {
        let (resolver, Host::Name(name)) = (Arc::new(Resolver::default()), Host::localhost())
        else {
            unreachable!()
        };
        let at = Instant::now().checked_sub(caps::LATE_ANSWER_TIME).unwrap();
        let (_sender, lookup) = watch::channel(Some(Answer { found: Ok(Vec::new()), at }));
        resolver.lookups.lock().insert(name.clone(), lookup);

        let mut anew = resolver.look_up(&name).unwrap();
        let found = anew.wait_for(Option::is_some).await.unwrap().clone().unwrap().found;
        assert!(found.is_ok_and(|found| !found.is_empty()), "it is looked up");
    }

    #[tokio::test]
    async fn the_look_ups_are_bounded() {
        let (resolver, Host::Name(name)) = (Arc::new(Resolver::default()), Host::localhost())
        else {
            unreachable!()
        };
        let (_under_way, lookup) = watch::channel(None);
        for nth in 0..caps::LOOKUPS_MAX {
            let Host::Name(other) = format!("node-{nth}").parse().unwrap() else { unreachable!() };
            resolver.lookups.lock().insert(other, lookup.clone());
        }
        assert!(resolver.look_up(&name).is_err());
    }
}
