//! A board on a serial link reaches the broker as itself, and only as itself.

use std::time::Duration;

use wasmbed_wire::message::{State, Status};

use crate::{
    board::{Board, Heard},
    world::{World, device, script},
};

const SESSION_UP: Heard = Heard::Session(true);
const SESSION_DOWN: Heard = Heard::Session(false);

async fn world() -> World {
    let mut world = World::new(&[script("quiet", "exec sleep 1000")]).await;
    world.desire(&[device("pump-1", "quiet")]).await;
    world
}

async fn online(world: &World, session: u16) -> Board {
    let mut board = Board::start(&world.link("pump-1"), session).await;
    board.until(&Heard::Up).await;
    board.open(1);
    board.until(&SESSION_UP).await;
    board
}

fn deliver(topic: &str, payload: &[u8]) -> Heard {
    Heard::Deliver(topic.to_owned(), payload.to_vec())
}

async fn state(world: &mut World, expected: State) -> bool {
    world
        .service
        .until("a state", |topic, publish| {
            let state = (topic == "pump-1/up/state").then(|| minicbor::decode::<State>(&publish.payload))?;
            (state.ok()? == expected).then_some(publish.retain)
        })
        .await
}

#[tokio::test]
async fn publishes_are_acknowledged_and_deliveries_arrive() {
    let mut world = world().await;
    world.service.publish("pump-1/dn/desired", true, "kept").await;
    let mut board = online(&world, 1).await;
    board.until(&deliver("dn/desired", b"kept")).await;

    board.publish(7, "up/info", b"who");
    board.until(&Heard::Acked(7)).await;
    world
        .service
        .until("info", |topic, message| (topic == "pump-1/up/info" && message.payload == "who").then_some(()))
        .await;

    world.service.publish("pump-1/dn/cmd/c1", false, "x").await;
    board.until(&deliver("dn/cmd/c1", b"x")).await;
}

#[tokio::test]
async fn a_board_publishes_to_its_own_topics_only() {
    let mut world = world().await;
    let mut board = online(&world, 1).await;
    for topic in ["up/nonsense", "dn/desired", "../pump-2/up/info", "up/tm/a/b", "up/tm/#", ""] {
        board.publish(1, topic, b"bad");
    }
    board.publish(2, "up/res/last", b"good");
    board.until(&Heard::Acked(2)).await;
    let first = |topic: &str, _: &_| topic.starts_with("pump").then(|| topic.to_owned());
    assert_eq!(world.service.until("a message", first).await, "pump-1/up/res/last");
}

#[tokio::test]
async fn a_reset_fires_the_will_and_the_board_connects_anew() {
    let mut world = world().await;
    let mut board = online(&world, 1).await;
    board.reset(2);
    board.until(&Heard::Up).await;
    state(&mut world, State { status: Status::Offline, boot: 1 }).await;
    board.open(2);
    board.until(&SESSION_UP).await;
    board.publish(1, "up/hb", b"alive");
    let heartbeat = |topic: &str, _: &_| (topic == "pump-1/up/hb").then_some(());
    tokio::select! {
        () = world.service.until("a heartbeat", heartbeat) => {}
        never = board.live() => match never {},
    }
}

#[tokio::test]
async fn a_silent_board_is_given_up() {
    let mut world = world().await;
    let _silent = online(&world, 1).await;
    state(&mut world, State { status: Status::Offline, boot: 1 }).await;
}

#[tokio::test]
async fn a_lost_broker_is_told_and_each_open_is_one_attempt() {
    let mut world = world().await;
    let mut board = online(&world, 1).await;
    world.broker.stop();
    board.until(&SESSION_DOWN).await;
    board.open(2);
    board.until(&SESSION_DOWN).await;
    board.idle(Duration::from_millis(300)).await;
    world.broker.restart();
    board.open(3);
    board.until(&SESSION_UP).await;
}

#[tokio::test]
async fn what_a_board_prints_is_logged_and_published() {
    let mut world = world().await;
    let mut board = online(&world, 1).await;
    board.print("hello world").await;
    board.print("again\n").await;
    let line = world
        .service
        .until("a line", |topic, message| {
            (topic == "_host/h1/up/console/pump-1").then(|| message.payload.clone())
        })
        .await;
    assert_eq!(line, "hello world");
    let log = world.data.path().join("devices/pump-1/console.log");
    assert!(std::fs::read_to_string(log).expect("a log").contains("hello world\nagain\n"));
}

#[tokio::test]
async fn a_slow_board_loses_blocks_but_neither_commands_nor_the_last_level() {
    let mut world = world().await;
    let mut board = online(&world, 1).await;
    let block = vec![0xbb; 1000];
    for n in 0..2000_u32 {
        world.service.publish_qos0("pump-1/dn/blk/0011223344556677", block.clone()).await;
        if n % 100 == 0 {
            world.service.publish("pump-1/dn/desired", true, n.to_string()).await;
        }
        if n % 200 == 0 {
            world.service.publish(&format!("pump-1/dn/cmd/c{n}"), false, "x").await;
        }
    }
    world.service.publish("pump-1/dn/desired", true, "last").await;
    // Read again only when all of it has passed the broker.
    world
        .service
        .until("the last", |topic, message| {
            (topic == "pump-1/dn/desired" && message.payload == "last").then_some(())
        })
        .await;
    let (mut blocks, mut commands) = (0, 0);
    loop {
        match board.hear().await {
            Heard::Deliver(topic, _) if topic.starts_with("dn/blk/") => blocks += 1,
            Heard::Deliver(topic, _) if topic.starts_with("dn/cmd/") => commands += 1,
            Heard::Deliver(_, payload) if payload == b"last" => break,
            _ => {}
        }
    }
    assert!(blocks < 1000, "{blocks} blocks were kept");
    assert_eq!(commands, 10);
}
