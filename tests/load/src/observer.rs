//! A client that notes when messages pass the broker.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use rumqttc::v5::{
    AsyncClient, Event, EventLoop,
    mqttbytes::{
        QoS,
        v5::{Packet, SubscribeReasonCode},
    },
};
use tokio::sync::oneshot;

use crate::Broker;

/// Time to connect and subscribe.
const PATIENCE: Duration = Duration::from_secs(20);

/// A message that passed.
#[derive(Debug, Clone)]
pub struct Message {
    /// When it came here.
    pub at: Instant,
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Bytes,
}

/// Subscribed to some topics until it is dropped.
pub struct Observer {
    messages: Receiver<Message>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Observer {
    /// Subscribes under this client id, user name and password, at quality of service 0.
    ///
    /// # Errors
    /// If the broker does not allow it.
    pub fn open(
        broker: Broker,
        client_id: &str,
        (username, password): (&str, &str),
        filters: &[String],
    ) -> Result<Self> {
        let options = broker.options(client_id, username, password);
        let (client, eventloop) = AsyncClient::new(options, filters.len() + 1);
        for filter in filters {
            client.try_subscribe(filter, QoS::AtMostOnce)?;
        }
        let (stop, stopped) = oneshot::channel();
        let (sender, messages) = channel();
        let (ready, is_ready) = channel();
        let wanted = filters.len();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("observer".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = listen(eventloop, wanted, &ready, &sender) => {}
                    _ = stopped => {}
                }
            });
            // Lives as long as its event loop.
            drop(client);
        })?;
        let observer = Observer { messages, stop: Some(stop), thread: Some(thread) };
        let granted = is_ready.recv_timeout(PATIENCE).context("the broker does not answer")?;
        ensure!(granted, "the broker refused a subscription to one of {filters:?}");
        Ok(observer)
    }

    /// Forgets what came until now.
    pub fn forget(&self) {
        while self.messages.try_recv().is_ok() {}
    }

    /// The next message, in the order they came.
    ///
    /// # Errors
    /// If none comes within `limit`.
    pub fn next(&self, limit: Duration) -> Result<Message> {
        match self.messages.recv_timeout(limit) {
            Ok(message) => Ok(message),
            Err(RecvTimeoutError::Timeout) => bail!("no message within {limit:?}"),
            Err(RecvTimeoutError::Disconnected) => bail!("the observer's connection ended"),
        }
    }

    /// What has come and was not taken yet.
    pub fn rest(&self) -> impl Iterator<Item = Message> {
        self.messages.try_iter()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A panic has been printed.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn listen(
    mut eventloop: EventLoop,
    mut wanted: usize,
    ready: &Sender<bool>,
    messages: &Sender<Message>,
) {
    while let Ok(event) = eventloop.poll().await {
        match event {
            Event::Incoming(Packet::SubAck(ack)) => {
                wanted = wanted.saturating_sub(1);
                let is_granted = matches!(ack.return_codes.first(), Some(SubscribeReasonCode::Success(_)));
                // Whoever asked waits, or has given up.
                if !is_granted {
                    let _ = ready.send(false);
                } else if wanted == 0 {
                    let _ = ready.send(true);
                }
            }
            Event::Incoming(Packet::Publish(publish)) => {
                let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                let message = Message { at: Instant::now(), topic, payload: publish.payload };
                if messages.send(message).is_err() {
                    return;
                }
            }
            _ => {}
        }
    }
}
