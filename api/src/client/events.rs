//! Events as they happen, across the loss of nodes.

use std::fmt;
use std::time::{Duration, Instant};

use futures::Stream;
use futures::stream::{self, BoxStream, StreamExt};
use sse_stream::{Sse, SseStream};
use tokio::time::{sleep, timeout};

use super::attempt::{Cause, reason, refusal};
use super::error::Unavailable;
use super::{Client, ClientError};
use crate::event::{Event, EventKind, EventsGap, EventsLagged, EventsReady};
use crate::path;

/// A stream in which nothing has come for so long, not even a sign of life, has ended: two of those
/// that a server sends every 15 s are missing.
const SILENT_AFTER: Duration = Duration::from_secs(40);
/// The shortest and the longest pause before a node is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Which events are wanted.
#[derive(Debug, Clone, Default)]
pub struct EventsRequest {
    /// Of these resources; all when empty.
    pub resources: Vec<String>,
    /// Of these kinds; all when empty.
    pub kinds: Vec<EventKind>,
    /// Of this region, or `global`; of both groups of the asked node when absent.
    pub region: Option<String>,
}

impl EventsRequest {
    fn path(&self) -> String {
        let list = |items: Vec<String>| (!items.is_empty()).then(|| items.join("%2C"));
        let names = self.resources.iter().map(|name| path::segment(name));
        let kinds = self.kinds.iter().map(|kind| kind.as_str().to_owned());
        let params = [
            ("resource", list(names.collect())),
            ("kinds", list(kinds.collect())),
            ("region", self.region.as_deref().map(path::segment)),
        ];
        let params = params.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let params: Vec<_> = params.map(|(name, value)| format!("{name}={value}")).collect();
        format!("/v1/events?{}", params.join("&"))
    }
}

/// A stream as it comes over the wire.
type Messages = BoxStream<'static, Result<Sse, sse_stream::Error>>;

/// What a stream of events tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventMessage {
    /// A stream begins: at first, and whenever its node was lost.
    Ready(EventsReady),
    /// Something happened.
    Event(Box<Event>),
    /// Some events are not known any more.
    Gap(EventsGap),
    /// This reader was too slow. It goes on with what happens from now on.
    Lagged(EventsLagged),
}

/// Reads events. When its node is lost it goes on at the next one, where it was.
pub struct EventReader {
    client: Client,
    path: String,
    /// Where to go on.
    last_id: Option<String>,
    open: Option<(String, Messages)>,
}

impl fmt::Debug for EventReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventReader").field("last_id", &self.last_id).finish_non_exhaustive()
    }
}

impl Client {
    /// Reads events, from now on. Nothing is asked for before the first
    /// [`EventReader::next`].
    #[must_use]
    pub fn events(&self, request: &EventsRequest) -> EventReader {
        EventReader { client: self.clone(), path: request.path(), last_id: None, open: None }
    }
}

impl EventReader {
    /// What is told next. Waits until there is something.
    ///
    /// # Errors
    /// The server's refusal, or that no node answered for as long as the client is patient. It may
    /// be called again.
    pub async fn next(&mut self) -> Result<EventMessage, ClientError> {
        let mut give_up = None;
        let mut pause = PAUSES.0;
        loop {
            let Some((url, stream)) = &mut self.open else {
                let give_up = give_up.get_or_insert_with(|| Instant::now() + self.client.patience);
                self.open = self.try_open(*give_up, &mut pause).await?;
                continue;
            };
            let told = match stream.next().await {
                Some(Ok(told)) => told,
                // The node is lost, or has closed the stream.
                Some(Err(_)) | None => {
                    let url = url.clone();
                    self.open = None;
                    self.client.nodes.move_on(None, &url);
                    continue;
                }
            };

            let foreign =
                |error: serde_json::Error| ClientError::Foreign(url.clone(), error.to_string());
            let read = read(&told).map_err(foreign)?;
            if let EventMessage::Lagged(_) = read {
                (self.last_id, self.open) = (None, None);
            } else if told.id.is_some() {
                self.last_id = told.id;
            }
            return Ok(read);
        }
    }

    /// Opens the stream at the node that is first in turn; `None` when the next one may do.
    async fn try_open(
        &self,
        give_up: Instant,
        pause: &mut Duration,
    ) -> Result<Option<(String, Messages)>, ClientError> {
        let url = self.client.nodes.first(None);
        let left = give_up.saturating_duration_since(Instant::now());
        let failed = match timeout(left.max(PAUSES.0), self.open_at(&url)).await {
            Ok(Ok(stream)) => return Ok(Some((url, stream))),
            Ok(Err((Cause::Final { .. }, error))) => return Err(error),
            Ok(Err((_, error))) => error,
            Err(_elapsed) => unavailable("no answer in time", &url),
        };
        if left.is_zero() {
            let all = self.client.nodes.all();
            return Err(ClientError::Unavailable(Unavailable::new(true, &failed, all)));
        }

        self.client.nodes.move_on(None, &url);
        sleep((*pause).min(left)).await;
        *pause = (*pause * 2).min(PAUSES.1);
        Ok(None)
    }

    async fn open_at(&self, url: &str) -> Result<Messages, (Cause, ClientError)> {
        let mut request = self.client.http.get(format!("{url}{}", self.path));
        if let Some(api_key) = &self.client.api_key {
            request = request.bearer_auth(api_key);
        }
        if let Some(id) = &self.last_id {
            request = request.header("last-event-id", id);
        }

        let lost = |error: reqwest::Error| (Cause::NotConnected, unavailable(&reason(&error), url));
        let answer = request.send().await.map_err(lost)?;
        let status = answer.status();
        if status.is_success() {
            let bytes = until_silent(answer.bytes_stream());
            return Ok(SseStream::from_bytes_stream(Box::pin(bytes)).boxed());
        }

        let body = answer.bytes().await.map_err(lost)?;
        Err(refusal(url, status, &body))
    }
}

fn unavailable(why: &str, url: &str) -> ClientError {
    ClientError::Unavailable(Unavailable::silent(true, why, url.to_owned()))
}

/// The same stream, which ends with an error when nothing comes for long.
fn until_silent<T>(
    stream: impl Stream<Item = Result<T, reqwest::Error>> + Send,
) -> impl Stream<Item = Result<T, std::io::Error>> + Send {
    stream::unfold(Some(Box::pin(stream)), async |stream| {
        let mut stream = stream?;
        match timeout(SILENT_AFTER, stream.next()).await {
            Ok(item) => Some((item?.map_err(std::io::Error::other), Some(stream))),
            Err(_elapsed) => Some((Err(std::io::ErrorKind::TimedOut.into()), None)),
        }
    })
}

fn read(told: &Sse) -> serde_json::Result<EventMessage> {
    let data = told.data.as_deref().unwrap_or_default();
    Ok(match told.event.as_deref() {
        Some("ready") => EventMessage::Ready(serde_json::from_str(data)?),
        Some("gap") => EventMessage::Gap(serde_json::from_str(data)?),
        Some("lagged") => EventMessage::Lagged(serde_json::from_str(data)?),
        Some(_) | None => EventMessage::Event(serde_json::from_str(data)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded() {
        let request = EventsRequest {
            resources: vec!["a/b".to_owned(), "c".to_owned()],
            kinds: vec![EventKind::Granted, EventKind::TimedOut],
            region: None,
        };
        assert_eq!(request.path(), "/v1/events?resource=a%2Fb%2Cc&kinds=granted%2Ctimed_out");
        assert_eq!(EventsRequest::default().path(), "/v1/events?");
    }
}
