//! What carries messages between the middleware and a module, each until its module or the device ends.

use std::{rc::Rc, sync::Arc, time::Duration};

use futures_util::{StreamExt, pin_mut};
use ros2_client::{Client, Publisher, RmwRequestId, Server, Subscription};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, mpsc},
    time::{Instant, timeout, timeout_at},
};
use wasmbed_abi::Errno;

use crate::{
    calls::Calls,
    codec::Body,
    config::{ServiceSettings, TopicSettings},
    graph::{Graph, Mark},
    losses::Loss,
    mailbox::Mailbox,
};

/// Something on its way out, with its share of what may be.
#[derive(Debug)]
pub(crate) struct Outgoing<T> {
    pub(crate) content: T,
    pub(crate) body: Body,
    /// Given back when it was sent, or will never be.
    pub(crate) _room: OwnedSemaphorePermit,
}

/// A request to a service.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) ticket: u32,
    /// When nobody waits for the response any more.
    pub(crate) deadline: Instant,
}

/// Ends when the module does, after what it said before.
pub(crate) async fn publish(
    publisher: Publisher<Body>,
    topic: Arc<TopicSettings>,
    mut outgoing: mpsc::Receiver<Outgoing<()>>,
    mailbox: Arc<Mailbox>,
) {
    while let Some(Outgoing { body, _room, .. }) = outgoing.recv().await {
        if let Err(error) = publisher.async_publish(body).await {
            mailbox.lost(&topic.name, Loss::Unsent, &error);
        }
    }
}

pub(crate) async fn subscribe(
    subscription: Subscription<Body>,
    topic: Arc<TopicSettings>,
    mailbox: Arc<Mailbox>,
) {
    let samples = subscription.async_stream();
    pin_mut!(samples);
    while let Some(sample) = samples.next().await {
        match sample.map(|(body, _)| topic.codec.inward(&body)) {
            Ok(Ok(bytes)) => mailbox.message(&topic, bytes),
            Ok(Err(mismatch)) => mailbox.lost(&topic.name, Loss::Malformed, &mismatch),
            Err(error) => mailbox.lost(&topic.name, Loss::Malformed, &error),
        }
    }
}

/// What a client or a server knows about the world.
pub(crate) struct World {
    pub(crate) graph: Arc<Graph>,
    /// Told of every change of the graph.
    pub(crate) changed: Rc<Notify>,
    /// When the client or server was made.
    pub(crate) made: Mark,
}

impl World {
    async fn wait_until(&self, holds: impl Fn(&Graph, Mark) -> bool) {
        loop {
            let change = self.changed.notified();
            pin_mut!(change);
            change.as_mut().enable();
            if holds(&self.graph, self.made) {
                return;
            }
            change.await;
        }
    }
}

/// Carries one call after the other: each ends with its response or at its deadline.
pub(crate) async fn call(
    client: Client<Body, Body>,
    service: Arc<ServiceSettings>,
    world: World,
    mut outgoing: mpsc::Receiver<Outgoing<Request>>,
    calls: Calls,
) {
    while let Some(Outgoing { content: Request { ticket, deadline }, body, _room }) = outgoing.recv().await {
        let response = timeout_at(deadline, respond(&client, &service, &world, body)).await;
        let response = response.unwrap_or(Err(Errno::TimedOut));
        calls.end(ticket, response);
    }
}

async fn respond(
    client: &Client<Body, Body>,
    service: &ServiceSettings,
    world: &World,
    body: Body,
) -> Result<Vec<u8>, Errno> {
    // A request is sent once: a service may not be one that can be asked twice. So it waits for who answers it.
    world.wait_until(|graph, made| graph.is_served_since(&service.name, made)).await;
    let failed = |what: &dyn std::fmt::Display| {
        tracing::warn!("service {}: {what}", service.name);
        Errno::Io
    };
    let id = client.async_send_request(body).await.map_err(|error| failed(&error))?;
    let response = client.async_receive_response(id).await.map_err(|error| failed(&error))?;
    service.response.inward(&response).map_err(|mismatch| failed(&mismatch))
}

/// How long a response waits for whoever asked to be found as a listener: its request can come first.
const UNHEARD: Duration = Duration::from_secs(1);

/// Carries requests to a module and its responses back, by the number of its service.
pub(crate) async fn serve(
    server: Server<Body, Body>,
    service: Arc<ServiceSettings>,
    world: World,
    number: u32,
    mut outgoing: mpsc::Receiver<Outgoing<RmwRequestId>>,
    mailbox: Arc<Mailbox>,
) {
    let requests = server.receive_request_stream();
    pin_mut!(requests);
    loop {
        tokio::select! {
            request = requests.next() => match request {
                Some(Ok((id, body))) => match service.request.inward(&body) {
                    Ok(bytes) => mailbox.request(number, &service, id, bytes),
                    Err(mismatch) => mailbox.lost(&service.name, Loss::Malformed, &mismatch),
                },
                Some(Err(error)) => mailbox.lost(&service.name, Loss::Malformed, &error),
                None => return,
            },
            response = outgoing.recv() => match response {
                Some(Outgoing { content: id, body, _room }) => {
                    let is_heard = world.wait_until(|graph, made| graph.is_heard_since(&service.name, made));
                    // It may be another that does not listen, so that it is sent in any case.
                    let _ = timeout(UNHEARD, is_heard).await;
                    if let Err(error) = server.async_send_response(id, body).await {
                        mailbox.lost(&service.name, Loss::Unsent, &error);
                    }
                }
                // The module is over.
                None => return,
            },
        }
    }
}
