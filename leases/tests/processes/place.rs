//! The counter that the lease protects. It is in the program of the test, and knows who is at it.
//!
//! The processes talk to it over sockets, and wait for each answer with their thread: nothing else
//! in them goes on meanwhile. A message is a kind, a token and a number.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// What a process says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The number is the process.
    Hello = 1,
    /// A holder comes in.
    Enter,
    /// The number is the new value.
    Write,
    /// A holder goes. The number says how: see `InTime`.
    Leave,
    /// The rest counts what has become of a turn.
    GivenUpWaiting,
    GivenUpInside,
    Lost,
    Failed,
}

const KINDS: [Kind; 8] = [
    Kind::Hello,
    Kind::Enter,
    Kind::Write,
    Kind::Leave,
    Kind::GivenUpWaiting,
    Kind::GivenUpInside,
    Kind::Lost,
    Kind::Failed,
];

/// What the place answers, with the value of the counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes = 1,
    /// A higher token was there.
    Refused,
    /// There is nothing left to do.
    Done,
    /// Yes, and: `Orders`.
    WriteAtOnce,
    AwaitFirst,
}

const ANSWERS: [Answer; 5] = [
    Answer::Yes,
    Answer::Refused,
    Answer::Done,
    Answer::WriteAtOnce,
    Answer::AwaitFirst,
];

/// What a process is to do that was stopped when it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Orders {
    GoOn,
    WriteAtOnce,
    AwaitFirst,
}

/// What the place has seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) value: u64,
    pub(crate) writes: u64,
    pub(crate) holders: u64,
    pub(crate) refused: u64,
    pub(crate) refused_after_a_stop: u64,
    /// Came in while a process that was stopped or killed was inside.
    pub(crate) overtook: u64,
    /// Came in while a process was inside that nobody had let run for longer than the margin.
    pub(crate) stalled: u64,
    pub(crate) given_up_waiting: u64,
    pub(crate) given_up_inside: u64,
    pub(crate) lost: u64,
    pub(crate) failed: u64,
    /// What must not be.
    pub(crate) faults: Vec<String>,
}

#[derive(Default)]
struct State {
    seen: Seen,
    goal: u64,
    highest: u64,
    /// The tokens inside, with their processes.
    inside: BTreeMap<u64, u32>,
    /// Tokens that have to show that their process stood still, because others came in.
    suspects: BTreeSet<u64>,
    /// Tokens whose process was stopped or killed.
    excused: BTreeSet<u64>,
    trap: Option<Trap>,
}

/// What waits for the next process that comes in.
struct Trap {
    orders: Orders,
    /// Is told the process and its token.
    caught: Sender<(u32, u64)>,
    /// Says when the answer may be sent.
    free: Receiver<()>,
}

/// A process that has come in, and whose answer is held back.
pub(crate) struct Trapped {
    pub(crate) process: u32,
    pub(crate) token: u64,
    /// Sends the answer.
    pub(crate) free: Box<dyn Fn()>,
}

pub(crate) struct Place {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

impl Place {
    pub(crate) fn open(goal: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let goal = goal.into();
        let state = Arc::new(Mutex::new(State {
            goal,
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, state) = (stream.unwrap(), Arc::clone(&shared));
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Self { state, address }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn value(&self) -> u64 {
        self.state.lock().unwrap().seen.value
    }

    pub(crate) fn highest(&self) -> u64 {
        self.state.lock().unwrap().highest
    }

    pub(crate) fn is_inside(&self, token: u64) -> bool {
        self.state.lock().unwrap().inside.contains_key(&token)
    }

    /// Catches the next process that comes in. It is going to be stopped or killed.
    pub(crate) fn trap(&self, orders: Orders) -> Trapped {
        let (caught, has_caught) = channel();
        let (frees, free) = channel();
        let trap = Trap {
            orders,
            caught,
            free,
        };
        self.state.lock().unwrap().trap = Some(trap);
        let (process, token) = has_caught.recv().unwrap();
        Trapped {
            process,
            token,
            free: Box::new(move || frees.send(()).unwrap()),
        }
    }

    pub(crate) fn close(self) -> Seen {
        self.state.lock().unwrap().seen.clone()
    }
}

/// Talks to one process until the process ends.
fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    stream.set_nodelay(true).unwrap();
    let mut process = 0;
    let mut message = [0; 17];
    while stream.read_exact(&mut message).is_ok() {
        let kind = KINDS[usize::from(message[0]) - 1];
        let number = |at: usize| u64::from_be_bytes(message[at..at + 8].try_into().unwrap());
        let (token, number) = (number(1), number(9));
        if kind == Kind::Hello {
            process = u32::try_from(number).unwrap();
        }
        let (mut answer, held_back) = state.lock().unwrap().hear(process, kind, token, number);
        if let Some(trap) = held_back {
            let _ = trap.free.recv();
            answer = match trap.orders {
                Orders::GoOn => Answer::Yes,
                Orders::WriteAtOnce => Answer::WriteAtOnce,
                Orders::AwaitFirst => Answer::AwaitFirst,
            };
        }
        let mut reply = [0; 9];
        reply[0] = answer as u8;
        reply[1..].copy_from_slice(&state.lock().unwrap().seen.value.to_be_bytes());
        if stream.write_all(&reply).is_err() {
            break;
        }
    }
    let mut state = state.lock().unwrap();
    state.inside.retain(|_, other| *other != process);
}

impl State {
    fn hear(
        &mut self,
        process: u32,
        kind: Kind,
        token: u64,
        number: u64,
    ) -> (Answer, Option<Trap>) {
        let answer = match kind {
            Kind::Hello => Answer::Yes,
            Kind::Enter => return self.enter(process, token),
            Kind::Write => self.write(token, number),
            Kind::Leave => {
                self.inside.remove(&token);
                if self.suspects.remove(&token) {
                    let was_late = number == 1;
                    if was_late {
                        self.seen.stalled += 1;
                    } else {
                        self.fault(format!("{token} was not alone, and was not late"));
                    }
                }
                Answer::Yes
            }
            Kind::GivenUpWaiting => Self::count(&mut self.seen.given_up_waiting),
            Kind::GivenUpInside => Self::count(&mut self.seen.given_up_inside),
            Kind::Lost => Self::count(&mut self.seen.lost),
            Kind::Failed => Self::count(&mut self.seen.failed),
        };
        (answer, None)
    }

    fn count(counter: &mut u64) -> Answer {
        *counter += 1;
        Answer::Yes
    }

    fn fault(&mut self, what: String) {
        self.seen.faults.push(what);
    }

    fn enter(&mut self, process: u32, token: u64) -> (Answer, Option<Trap>) {
        if token == self.highest {
            self.fault(format!("two holders have the token {token}"));
        }
        if token <= self.highest {
            self.seen.refused += 1;
            return (Answer::Refused, None);
        }
        self.highest = token;
        self.seen.holders += 1;
        for other in self.inside.keys() {
            if self.excused.contains(other) {
                self.seen.overtook += 1;
            } else {
                self.suspects.insert(*other);
            }
        }
        self.inside.insert(token, process);
        if self.seen.value >= self.goal {
            return (Answer::Done, None);
        }
        if let Some(trap) = self.trap.take() {
            self.excused.insert(token);
            trap.caught.send((process, token)).unwrap();
            return (Answer::Yes, Some(trap));
        }
        (Answer::Yes, None)
    }

    fn write(&mut self, token: u64, value: u64) -> Answer {
        if token < self.highest {
            self.seen.refused += 1;
            self.seen.refused_after_a_stop += u64::from(self.excused.contains(&token));
            return Answer::Refused;
        }
        if value != self.seen.value + 1 {
            self.fault(format!("{token} wrote {value} over {}", self.seen.value));
        }
        self.seen.value = value;
        self.seen.writes += 1;
        Answer::Yes
    }
}

/// The side of a process.
pub(crate) struct Visitor(Mutex<TcpStream>);

impl Visitor {
    pub(crate) fn new(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let visitor = Self(Mutex::new(stream));
        visitor.say(Kind::Hello, 0, std::process::id().into());
        Ok(visitor)
    }

    /// Says something, and waits for the answer and the value. Where the place is closed, the
    /// process ends.
    pub(crate) fn say(&self, kind: Kind, token: u64, number: u64) -> (Answer, u64) {
        let mut message = [0; 17];
        message[0] = kind as u8;
        message[1..9].copy_from_slice(&token.to_be_bytes());
        message[9..].copy_from_slice(&number.to_be_bytes());
        let mut stream = self.0.lock().unwrap();
        let mut reply = [0; 9];
        let said = stream.write_all(&message);
        if said.and_then(|()| stream.read_exact(&mut reply)).is_err() {
            std::process::exit(3);
        }
        let value = u64::from_be_bytes(reply[1..].try_into().unwrap());
        (ANSWERS[usize::from(reply[0]) - 1], value)
    }
}
