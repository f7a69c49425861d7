//! The contexts that are polling in this thread now, each inside the one before.
//!
//! A poll counts itself in one cell. A use that never waits costs no more than this count. Code
//! that must know where it is calls [`home`] or [`code`]. These functions give a [`Node`] to each
//! context around the code. Each of these contexts finds its node when its own poll ends. A context
//! that already has a node registers the node when it is polled.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::thread::{self, ThreadId};

use tokio::runtime::Handle;
use tokio::task;

use super::age::Number;
use super::list::List;
use super::node::Node;

/// How many contexts are polling in this thread, and which of them are exits.
#[derive(Debug, Clone, Copy)]
struct Depths {
    all: u32,
    /// The depth of the innermost exit; 0 if there is none.
    exit: u32,
    /// A bit for each exit among the first 63 depths.
    exits: u64,
}

impl Depths {
    const NONE: Self = Self {
        all: 0,
        exit: 0,
        exits: 0,
    };

    #[inline]
    fn here() -> Self {
        // No context is around the code of a thread that is being torn down.
        DEPTHS.try_with(Cell::get).unwrap_or(Self::NONE)
    }

    #[inline]
    fn set(self) {
        let _ = DEPTHS.try_with(|cell| cell.set(self));
    }
}

thread_local! {
    static DEPTHS: Cell<Depths> = const { Cell::new(Depths::NONE) };

    /// The depth of the last frame in [`FRAMES`]; 0 if there is none.
    static KNOWN: Cell<u32> = const { Cell::new(0) };

    /// The contexts that have a node, the innermost last.
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };

    static THREAD: ThreadId = thread::current().id();
}

/// A context that is polling and knows where it is.
struct Frame {
    depth: u32,
    /// The task that the context polls in. A `LocalSet` in this task may poll another task, which
    /// is not inside the context.
    task: Option<task::Id>,
    is_exit: bool,
    at: At,
}

/// Where a context is.
pub(super) enum At {
    Node(Arc<Node>),
    /// The home of a context that has no node yet, and when the context was opened.
    Origin(Option<Arc<Node>>, Number),
}

impl At {
    fn node(&mut self) -> &Arc<Node> {
        if let Self::Origin(home, number) = self {
            *self = Self::Node(Node::new(home.take(), *number));
        }
        match self {
            Self::Node(node) => node,
            Self::Origin(..) => unreachable!("it was made a node above"),
        }
    }
}

/// A task, outside all exits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Root {
    Task(task::Id),
    /// The future of a tokio runtime's `block_on`, which stays on its thread.
    Thread(ThreadId),
}

/// The code that runs now: rule c.
pub(super) enum Code {
    /// The exit of a context.
    Exit(Arc<Node>),
    Task(Root),
    /// A task of another executor. The node is the task's outermost context.
    Outermost(Arc<Node>),
    /// Code without a list: a task of another executor outside all contexts or, if no node may be
    /// made, an exit that has no node.
    Unknown,
}

/// The part of a context that is polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Polled {
    /// The enter or the body, which belong to the code around them.
    Open,
    /// The exit, or all of a context in the background: these are code of their own.
    Exit,
}

/// A poll that is going on.
#[derive(Debug)]
pub(super) struct Poll {
    before: Depths,
}

impl Poll {
    /// Begins a poll of a context. Until the poll ends, all contexts that this thread opens are
    /// inside that context.
    #[inline]
    pub(super) fn begin(part: Polled) -> Self {
        let before = Depths::here();
        let mut now = before;
        now.all += 1;
        if part == Polled::Exit {
            now.exit = now.all;
            now.exits |= bit(now.all);
        }
        now.set();
        Self { before }
    }

    /// Begins a poll of a context that knows where it is.
    pub(super) fn begin_at(part: Polled, at: At) -> Self {
        let poll = Self::begin(part);
        push(Frame {
            depth: poll.before.all + 1,
            task: task::try_id(),
            is_exit: part == Polled::Exit,
            at,
        });
        poll
    }

    /// Ends the poll. Returns the node of the context, if the context has one by now.
    #[inline]
    pub(super) fn end(&mut self) -> Option<Arc<Node>> {
        self.before.set();
        if KNOWN.try_with(Cell::get) == Ok(self.before.all + 1) {
            return pop();
        }
        None
    }
}

/// Returns `true` if a context is polling here.
#[inline]
pub(super) fn is_in_a_context() -> bool {
    Depths::here().all != 0
}

/// Returns the bit of this depth in [`Depths::exits`].
#[inline]
fn bit(depth: u32) -> u64 {
    1_u64.checked_shl(depth).unwrap_or(0)
}

fn push(frame: Frame) {
    let _ = FRAMES.try_with(|frames| {
        let _ = KNOWN.try_with(|cell| cell.set(frame.depth));
        frames.borrow_mut().push(frame);
    });
}

#[cold]
fn pop() -> Option<Arc<Node>> {
    let pop = |frames: &RefCell<Vec<Frame>>| {
        let mut frames = frames.borrow_mut();
        let frame = frames.pop();
        let last = frames.last().map_or(0, |frame| frame.depth);
        let _ = KNOWN.try_with(|cell| cell.set(last));
        frame
    };
    let frame = FRAMES.try_with(pop).ok().flatten()?;
    let At::Node(node) = frame.at else {
        return None;
    };
    if frame.task != task::try_id() {
        // The node was created for another task, which is polled from inside this context, but is
        // not inside it.
        node.leave();
        return None;
    }
    Some(node)
}

/// Returns the node of the innermost context around this code, or `None` outside all contexts.
pub(super) fn home() -> Option<Arc<Node>> {
    node_at(Depths::here().all, true)
}

/// Returns the code that runs here. An exit without a node gets a node if `make_node` is `true`.
pub(super) fn code(make_node: bool) -> Code {
    let depth = Depths::here().exit;
    match node_at(depth, make_node) {
        Some(node) => Code::Exit(node),
        None if depth != 0 && !make_node && !is_of_another_task(depth) => Code::Unknown,
        None => match Root::here() {
            Some(root) => Code::Task(root),
            None => outermost(make_node).map_or(Code::Unknown, Code::Outermost),
        },
    }
}

/// Returns `true` if this code is part of an exit inside the node's context, or of an exit that
/// such an exit gave up. The exit inside may then be waiting for the node's context (the exception
/// of rule b). Only the place that owns the node may call this, and it must hold exactly one
/// reference to the node. Each context inside refers to the node as well, directly or through
/// others. So if that reference is the only one, nothing is inside.
pub(super) fn is_in_an_exit_inside_of(node: &Arc<Node>) -> bool {
    let innermost = Depths::here().exit;
    // Each context inside refers to the node, directly or through others.
    if innermost == 0 || Arc::strong_count(node) == 1 {
        return false;
    }
    node_at(innermost, true);
    let task = task::try_id();
    let exits = |frames: &RefCell<Vec<Frame>>| -> Vec<Arc<Node>> {
        let mut frames = frames.borrow_mut();
        // No frame further inside is an exit.
        let known = frames.partition_point(|frame| frame.depth <= innermost);
        let exits = frames[..known]
            .iter_mut()
            .filter(|frame| frame.is_exit && frame.task == task);
        exits.map(|frame| Arc::clone(frame.at.node())).collect()
    };
    let exits = FRAMES.try_with(exits).unwrap_or_default();
    exits.iter().any(|exit| exit.is_inside_of(node))
        || exits
            .first()
            .is_some_and(|exit| exit.was_given_up_inside_of(node))
}

/// Returns the node of the outermost context that is polling here, outside tokio. All code inside
/// that context belongs to one task.
fn outermost(make_node: bool) -> Option<Arc<Node>> {
    if !is_in_a_context() {
        return None;
    }
    node_at(1, make_node)
}

/// Returns `true` if the node's context is polling in this thread. Then no other thread polls it.
pub(super) fn is_polling(node: &Arc<Node>) -> bool {
    let is_it = |frame: &Frame| match &frame.at {
        At::Node(at) => Arc::ptr_eq(at, node),
        At::Origin(..) => false,
    };
    let is_any = |frames: &RefCell<Vec<Frame>>| frames.borrow().iter().any(is_it);
    FRAMES.try_with(is_any).unwrap_or(false)
}

fn is_of_another_task(depth: u32) -> bool {
    if KNOWN.try_with(Cell::get).unwrap_or(0) < depth {
        return false;
    }
    let task = task::try_id();
    let is_another = |frames: &RefCell<Vec<Frame>>| {
        let frames = frames.borrow();
        let known = frames.binary_search_by_key(&depth, |frame| frame.depth);
        known.is_ok_and(|index| frames[index].task != task)
    };
    FRAMES.try_with(is_another).unwrap_or(false)
}

/// Returns the node of the context that polls at this depth, if that context belongs to this task.
fn node_at(depth: u32, make_nodes: bool) -> Option<Arc<Node>> {
    if depth == 0 || !make_nodes && KNOWN.try_with(Cell::get).unwrap_or(0) < depth {
        return None;
    }
    let task = task::try_id();
    let find = |frames: &RefCell<Vec<Frame>>| {
        let mut frames = frames.borrow_mut();
        let known = frames.partition_point(|frame| frame.depth <= depth);
        let nearest = known.checked_sub(1).map(|index| &mut frames[index]);
        let (begin, around) = match nearest {
            Some(frame) if !make_nodes => {
                let is_it = frame.depth == depth && frame.task == task;
                return match &frame.at {
                    At::Node(node) => is_it.then(|| Arc::clone(node)),
                    At::Origin(..) => None,
                };
            }
            Some(frame) if frame.depth == depth => {
                return (frame.task == task).then(|| Arc::clone(frame.at.node()));
            }
            Some(frame) if frame.task == task => (frame.depth, Some(Arc::clone(frame.at.node()))),
            Some(frame) => (frame.depth, None),
            None if !make_nodes => return None,
            None => (0, None),
        };
        // A context without a frame is polled where it was opened: it has not waited yet, it is a
        // `with`, or it was opened outside all contexts and none is polling around it. So its home
        // is the context that polls around it. If it has noted its origin, `adopt` sets home and
        // number right.
        let Depths { exit, exits, .. } = Depths::here();
        let mut around = around;
        for (index, depth) in (known..).zip(begin + 1..=depth) {
            let node = Node::new(around.take(), Number::of_another());
            around = Some(Arc::clone(&node));
            let frame = Frame {
                depth,
                task,
                is_exit: depth == exit || exits & bit(depth) != 0,
                at: At::Node(node),
            };
            frames.insert(index, frame);
        }
        let last = frames.last().map_or(0, |frame| frame.depth);
        let _ = KNOWN.try_with(|cell| cell.set(last));
        around
    };
    FRAMES.try_with(find).ok().flatten()
}

impl Root {
    pub(super) fn here() -> Option<Self> {
        if let Some(id) = task::try_id() {
            return Some(Self::Task(id));
        }
        Handle::try_current().ok()?;
        THREAD.try_with(|id| Self::Thread(*id)).ok()
    }
}

/// Returns `true` if an exit is polling here.
#[inline]
pub(super) fn is_in_an_exit() -> bool {
    Depths::here().exit != 0
}

/// Returns `true` if a guard that is given up here may have to wait for its neighbours, or must not
/// wait for the contexts inside it.
#[inline]
pub(super) fn may_have_to_wait() -> bool {
    is_in_an_exit() || List::is_there()
}
