//! The programs: their parts, how they are generated, how they are made smaller, and their text.

use std::fmt::{self, Write as _};

/// The name of a guard, a `with`, a stack or an entry. A guard is moved once, as in Rust: an op on
/// a name that is gone does nothing.
pub(super) type Name = u32;

/// A piece of code. The things that it holds at its end drop in reverse.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) ops: Vec<Op>,
    /// `true` if the first error ends the block, as with `?`, or the first panic.
    pub(super) strict: bool,
    /// `true` if the block has a local whose `Drop` panics.
    pub(super) has_local: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Fate {
    #[default]
    Ok,
    Fail,
    Panic,
}

/// The future that a context runs beside its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Beside {
    /// How often the future waits.
    pub(super) naps: u32,
    /// How the future ends. `None` if it never ends.
    pub(super) fate: Option<Fate>,
}

/// A context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) inside: Option<Name>,
    pub(super) independent: bool,
    pub(super) owns: Vec<Name>,
    pub(super) enter: Block,
    pub(super) entered: Fate,
    pub(super) beside: Option<Beside>,
    pub(super) exit: Block,
    pub(super) exited: Fate,
    /// The time limit of the exit, in milliseconds.
    pub(super) limit: Option<u32>,
}

/// The number of polls after which the future is dropped.
pub(super) type Cut = Option<u32>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Op {
    Open(Name, Box<Spec>, Cut),
    With(Name, Box<Spec>, Body, Cut),
    Drop(Name),
    /// `Guard::close`, or `Guard::exit` with an error.
    Close(Name, Fate, Cut),
    Task(Arm, Joined),
    Join([Arm; 2]),
    /// The exit of the second context owns the first from now on.
    Give(Name, Name),
    /// Closes everything that the code holds, from the last to the first.
    CloseAll,
    /// Runs a part of the body of this guard.
    Run(Name, Block, Cut),
    Stack(Name, Vec<Step>, StackEnd),
    Sleep(u32),
}

type Joined = bool;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) moves: Vec<Name>,
    pub(super) block: Block,
    pub(super) fate: Fate,
    /// The guards that the body leaves to the code around, if it ends well.
    pub(super) leaves: Vec<Name>,
}

/// A part of a join, or a task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Arm {
    pub(super) moves: Vec<Name>,
    pub(super) block: Block,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Enter(Name, Box<Spec>, Cut),
    /// Keeps the second as an entry. The first is the entry's own name.
    Keep(Name, Name),
    /// Releases the lease with this number.
    Release(usize, Cut),
    Do(Op),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StackEnd {
    Held,
    Dropped,
    Exit(Fate, Cut),
}

/// `SplitMix64`, which makes the same programs on each machine, with any version of any crate.
#[derive(Debug, Clone)]
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`.
    pub(super) fn below(&mut self, end: u32) -> u32 {
        u32::try_from(self.next() % u64::from(end.max(1))).unwrap_or(0)
    }

    fn percent(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    fn index(&mut self, length: usize) -> usize {
        self.below(u32::try_from(length).unwrap_or(u32::MAX)) as usize
    }

    fn weighted(&mut self, weights: &[u32]) -> usize {
        let mut left = self.below(weights.iter().sum());
        for (index, weight) in weights.iter().enumerate() {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return index,
            }
        }
        0
    }
}

/// Makes one program.
pub(super) struct Generator {
    random: Random,
    left: u32,
    names: Name,
    /// `true` if the program declares contexts inside others. Then no enter and no exit joins a
    /// task, nor does an enter touch a guard that its context owns: a wait for a context around,
    /// which the crate cannot see, would be a cycle that the user has made (rule g).
    declares: bool,
    /// `true` if the program has errors and panics.
    fails: bool,
    /// Not 0 while the code of an enter or an exit is generated.
    in_context: u32,
}

impl Generator {
    pub(super) fn program(seed: u64) -> Block {
        let mut random = Random(seed);
        random.next();
        let left = 6 + random.below(16);
        let declares = random.percent(50);
        let fails = random.percent(60);
        let mut generator = Self {
            random,
            left,
            names: 0,
            declares,
            fails,
            in_context: 0,
        };
        let length = 4 + generator.random.below(8);
        generator.block(&mut Vec::new(), 3, length)
    }

    fn name(&mut self) -> Name {
        self.names += 1;
        self.names
    }

    fn some(&mut self, held: &mut Vec<Name>, percent: u32) -> Vec<Name> {
        let mut some = Vec::new();
        held.retain(|name| {
            let taken = self.random.percent(percent);
            if taken {
                some.push(*name);
            }
            !taken
        });
        some
    }

    fn fate(&mut self) -> Fate {
        if !self.fails {
            return Fate::Ok;
        }
        [Fate::Ok, Fate::Fail, Fate::Panic][self.random.weighted(&[80, 12, 8])]
    }

    fn cut(&mut self, percent: u32) -> Cut {
        let is_cut = self.random.percent(percent);
        is_cut.then(|| self.random.below(7))
    }

    fn spec(&mut self, held: &mut Vec<Name>, depth: u32) -> Spec {
        let mut spec = Spec::default();
        if self.declares && !held.is_empty() && self.random.percent(25) {
            spec.inside = Some(held[self.random.index(held.len())]);
        } else if self.random.percent(6) {
            spec.independent = true;
        }
        spec.owns = self.some(held, 30);
        let around = spec.owns.iter().position(|name| Some(*name) == spec.inside);
        held.extend(around.map(|at| spec.owns.remove(at)));
        let mut mine = spec.owns.clone();
        self.in_context += 1;
        if depth > 0 && self.random.percent(20) {
            let length = 1 + self.random.below(2);
            if self.declares {
                let mut opened = Vec::new();
                spec.enter = self.block(&mut opened, depth - 1, length);
                mine.append(&mut opened);
            } else {
                spec.enter = self.block(&mut mine, depth - 1, length);
            }
        }
        if self.random.percent(30) {
            spec.enter.ops.insert(0, Op::Sleep(3));
        }
        if depth > 0 {
            let length = self.random.below(4);
            spec.exit = self.block(&mut mine, depth - 1, length);
        }
        if self.random.percent(50) {
            let length = 1 + self.random.below(6);
            spec.exit.ops.insert(0, Op::Sleep(length));
        }
        if self.random.percent(if depth > 1 { 40 } else { 60 }) {
            spec.exit.ops.push(Op::CloseAll);
        }
        self.in_context -= 1;
        if self.random.percent(30) {
            spec.entered = self.fate();
        }
        spec.exited = self.fate();
        if self.random.percent(7) {
            spec.limit = Some(1 + self.random.below(6));
        }
        spec
    }

    fn arm(&mut self, held: &mut Vec<Name>, depth: u32) -> Arm {
        let moves = self.some(held, 40);
        let length = 1 + self.random.below(2);
        let block = self.block(&mut moves.clone(), depth.saturating_sub(1), length);
        Arm { moves, block }
    }

    fn block(&mut self, held: &mut Vec<Name>, depth: u32, length: u32) -> Block {
        let mut ops = Vec::new();
        for _ in 0..length {
            if self.left == 0 {
                break;
            }
            self.left -= 1;
            ops.extend(self.op(held, depth));
        }
        Block {
            ops,
            strict: self.fails && self.random.percent(25),
            has_local: self.fails && self.random.percent(4),
        }
    }

    fn op(&mut self, held: &mut Vec<Name>, depth: u32) -> Option<Op> {
        let deep = u32::from(depth > 0);
        let may_join = !(self.declares && self.in_context > 0);
        let weights = [50, 22 * deep, 30, 25, 7, 5, 5, 8, 8, 8 * deep];
        Some(match self.random.weighted(&weights) {
            0 => {
                let name = self.name();
                let spec = Box::new(self.spec(held, depth));
                let cut = self.cut(8);
                if cut.is_none() {
                    held.push(name);
                }
                Op::Open(name, spec, cut)
            }
            1 => {
                let name = self.name();
                let spec = Box::new(self.spec(held, depth - 1));
                let moves = self.some(held, 35);
                let mut inner = moves.clone();
                let length = 1 + self.random.below(3);
                let block = self.block(&mut inner, depth - 1, length);
                let mut body = Body {
                    moves,
                    block,
                    fate: self.fate(),
                    leaves: Vec::new(),
                };
                if self.random.percent(25) {
                    body.leaves = self.some(&mut inner, 60);
                    held.extend(&body.leaves);
                }
                let cut = self.cut(40);
                Op::With(name, spec, body, cut)
            }
            2 => Op::Drop(self.one_of(held)?),
            3 => {
                let name = self.one_of(held)?;
                let fate = match self.fate() {
                    Fate::Ok => Fate::Ok,
                    Fate::Fail | Fate::Panic => Fate::Fail,
                };
                Op::Close(name, fate, self.cut(35))
            }
            4 => {
                let name = self.one_of(held)?;
                let close = Op::Close(name, Fate::Ok, None);
                let block = Block {
                    ops: vec![close],
                    ..Block::default()
                };
                let moves = vec![name];
                Op::Task(Arm { moves, block }, may_join && self.random.percent(80))
            }
            5 => {
                let arm = self.arm(held, depth);
                Op::Task(arm, may_join && self.random.percent(70))
            }
            6 => {
                let first = self.arm(held, depth);
                Op::Join([first, self.arm(held, depth)])
            }
            7 => Op::Sleep(1 + self.random.below(5)),
            8 => {
                if held.len() < 2 {
                    return None;
                }
                let given = held.remove(self.random.index(held.len()));
                Op::Give(given, held[self.random.index(held.len())])
            }
            _ => self.stack(held, depth),
        })
    }

    fn one_of(&mut self, held: &mut Vec<Name>) -> Option<Name> {
        let last = held.len().checked_sub(1)?;
        let any = self.random.percent(50);
        let index = if any {
            self.random.index(held.len())
        } else {
            last
        };
        Some(held.remove(index))
    }

    fn stack(&mut self, held: &mut Vec<Name>, depth: u32) -> Op {
        let name = self.name();
        let mut steps = Vec::new();
        for _ in 0..=self.random.below(4) {
            match self.random.weighted(&[40, 30, 15, 15]) {
                0 => {
                    let entry = self.name();
                    let spec = Box::new(self.spec(held, depth - 1));
                    steps.push(Step::Enter(entry, spec, self.cut(5)));
                }
                1 => {
                    if let Some(kept) = self.one_of(held) {
                        steps.push(Step::Keep(self.name(), kept));
                    }
                }
                2 => steps.push(Step::Release(self.random.index(4), self.cut(30))),
                _ => steps.extend(self.op(held, depth - 1).map(Step::Do)),
            }
        }
        let end = match self.random.weighted(&[30, 35, 35]) {
            0 => StackEnd::Held,
            1 => StackEnd::Dropped,
            _ => {
                let fate = if self.fate() == Fate::Ok {
                    Fate::Ok
                } else {
                    Fate::Fail
                };
                StackEnd::Exit(fate, self.cut(30))
            }
        };
        if end == StackEnd::Held {
            held.push(name);
        }
        Op::Stack(name, steps, end)
    }
}

// Futures beside the bodies.

/// Returns the program of this number. In every second program, futures run beside the bodies.
pub(super) fn program(seed: u64) -> Block {
    let mut program = Generator::program(seed);
    if seed % 2 == 0 {
        let mut random = Random(!seed);
        random.next();
        Accompanist { random }.block(&mut program);
    }
    program
}

/// Adds futures beside bodies to a program, and the parts of bodies that guards run. It has random
/// numbers of its own, so that programs without such futures stay the same.
struct Accompanist {
    random: Random,
}

impl Accompanist {
    fn block(&mut self, block: &mut Block) {
        for op in &mut block.ops {
            self.op(op);
        }
        self.part(block);
    }

    /// Turns some of the code after the opening of a guard into a part of that guard's body.
    fn part(&mut self, block: &mut Block) {
        let opened = block.ops.iter().enumerate().find_map(|(at, op)| match op {
            Op::Open(name, _, None) if self.random.percent(35) => Some((at, *name)),
            _ => None,
        });
        let Some((at, name)) = opened else { return };
        let left = block.ops.len() - at - 1;
        let mut ops: Vec<_> = block
            .ops
            .drain(at + 1..at + 1 + self.random.index(left + 1))
            .collect();
        if ops.is_empty() || self.random.percent(30) {
            ops.insert(0, Op::Sleep(1 + self.random.below(6)));
        }
        let part = Block {
            ops,
            strict: block.strict && self.random.percent(50),
            has_local: false,
        };
        let cut = self.random.percent(20).then(|| self.random.below(7));
        block.ops.insert(at + 1, Op::Run(name, part, cut));
    }

    fn op(&mut self, op: &mut Op) {
        match op {
            Op::Open(_, spec, _) => self.spec(spec),
            Op::With(_, spec, body, _) => {
                self.spec(spec);
                self.block(&mut body.block);
                if self.random.percent(50) {
                    let length = 1 + self.random.below(8);
                    body.block.ops.push(Op::Sleep(length));
                }
            }
            Op::Task(arm, _) => self.block(&mut arm.block),
            Op::Join(arms) => {
                for arm in arms {
                    self.block(&mut arm.block);
                }
            }
            Op::Stack(_, steps, _) => {
                for step in steps {
                    match step {
                        Step::Enter(_, spec, _) => self.spec(spec),
                        Step::Do(op) => self.op(op),
                        Step::Keep(..) | Step::Release(..) => {}
                    }
                }
            }
            Op::Run(_, block, _) => self.block(block),
            Op::Drop(_) | Op::Close(..) | Op::Give(..) | Op::CloseAll | Op::Sleep(_) => {}
        }
    }

    fn spec(&mut self, spec: &mut Spec) {
        self.block(&mut spec.enter);
        self.block(&mut spec.exit);
        if !self.random.percent(45) {
            return;
        }
        let fates = [None, Some(Fate::Ok), Some(Fate::Fail), Some(Fate::Panic)];
        spec.beside = Some(Beside {
            naps: self.random.below(6),
            fate: fates[self.random.weighted(&[20, 15, 50, 15])],
        });
    }
}

// Smaller programs.

/// Returns all programs that are one step smaller, the most promising ones first.
pub(super) fn smaller(block: &Block) -> Vec<Block> {
    let mut all = Vec::new();
    for at in 0..block.ops.len() {
        let mut ops = block.ops.clone();
        ops.remove(at);
        all.push(Block {
            ops,
            ..block.clone()
        });
    }
    if block.strict || block.has_local {
        all.push(Block {
            ops: block.ops.clone(),
            strict: false,
            has_local: false,
        });
    }
    for (at, op) in block.ops.iter().enumerate() {
        // An op with a block is replaced by the ops of that block.
        for ops in inlined(op) {
            let mut block = block.clone();
            block.ops.splice(at..=at, ops);
            all.push(block);
        }
        for op in smaller_op(op) {
            let mut block = block.clone();
            block.ops[at] = op;
            all.push(block);
        }
    }
    all
}

fn inlined(op: &Op) -> Vec<Vec<Op>> {
    match op {
        Op::Join(arms) => arms.iter().map(|arm| arm.block.ops.clone()).collect(),
        Op::Task(arm, _) => vec![arm.block.ops.clone()],
        Op::With(_, _, body, _) => vec![body.block.ops.clone()],
        Op::Run(_, block, _) => vec![block.ops.clone()],
        _ => Vec::new(),
    }
}

fn smaller_names(names: &[Name]) -> Vec<Vec<Name>> {
    let without = |at| {
        let mut names = names.to_vec();
        names.remove(at);
        names
    };
    (0..names.len()).map(without).collect()
}

/// Returns no cut, and earlier cuts.
fn smaller_cut(cut: Cut) -> Vec<Cut> {
    match cut {
        None => Vec::new(),
        Some(0) => vec![None],
        Some(polls) => vec![None, Some(0), Some(polls - 1)],
    }
}

fn smaller_op(op: &Op) -> Vec<Op> {
    let mut all = Vec::new();
    match op {
        Op::Open(name, spec, cut) => {
            all.extend(smaller_spec(spec).map(|spec| Op::Open(*name, spec, *cut)));
            let cuts = smaller_cut(*cut).into_iter();
            all.extend(cuts.map(|cut| Op::Open(*name, spec.clone(), cut)));
        }
        Op::With(name, spec, body, cut) => {
            let with = |spec: &Spec, body: &Body, cut| {
                Op::With(*name, Box::new(spec.clone()), body.clone(), cut)
            };
            all.extend(smaller_spec(spec).map(|spec| with(&spec, body, *cut)));
            let mut bodies = Vec::new();
            for block in smaller(&body.block) {
                bodies.push(Body {
                    block,
                    ..body.clone()
                });
            }
            for moves in smaller_names(&body.moves) {
                bodies.push(Body {
                    moves,
                    ..body.clone()
                });
            }
            for leaves in smaller_names(&body.leaves) {
                bodies.push(Body {
                    leaves,
                    ..body.clone()
                });
            }
            if body.fate != Fate::Ok {
                bodies.push(Body {
                    fate: Fate::Ok,
                    ..body.clone()
                });
            }
            all.extend(bodies.iter().map(|body| with(spec, body, *cut)));
            all.extend(
                smaller_cut(*cut)
                    .into_iter()
                    .map(|cut| with(spec, body, cut)),
            );
        }
        Op::Close(name, fate, cut) => {
            all.push(Op::Drop(*name));
            if *fate != Fate::Ok {
                all.push(Op::Close(*name, Fate::Ok, *cut));
            }
            let cuts = smaller_cut(*cut).into_iter();
            all.extend(cuts.map(|cut| Op::Close(*name, *fate, cut)));
        }
        Op::Task(arm, joined) => {
            all.extend(smaller_arm(arm).map(|arm| Op::Task(arm, *joined)));
        }
        Op::Join([first, second]) => {
            all.extend(smaller_arm(first).map(|first| Op::Join([first, second.clone()])));
            all.extend(smaller_arm(second).map(|second| Op::Join([first.clone(), second])));
        }
        Op::Run(name, block, cut) => {
            let blocks = smaller(block).into_iter();
            all.extend(blocks.map(|block| Op::Run(*name, block, *cut)));
            let cuts = smaller_cut(*cut).into_iter();
            all.extend(cuts.map(|cut| Op::Run(*name, block.clone(), cut)));
        }
        Op::Stack(name, steps, end) => all.extend(smaller_stack(*name, steps, *end)),
        Op::Sleep(length) if *length > 1 => all.push(Op::Sleep(length - 1)),
        Op::Sleep(_) | Op::Drop(_) | Op::Give(..) | Op::CloseAll => {}
    }
    all
}

fn smaller_stack(name: Name, steps: &[Step], end: StackEnd) -> Vec<Op> {
    let mut all = Vec::new();
    for at in 0..steps.len() {
        let mut fewer = steps.to_vec();
        fewer.remove(at);
        all.push(Op::Stack(name, fewer, end));
        for step in smaller_step(&steps[at]) {
            let mut steps = steps.to_vec();
            steps[at] = step;
            all.push(Op::Stack(name, steps, end));
        }
    }
    let simpler = match end {
        StackEnd::Held => vec![StackEnd::Dropped],
        StackEnd::Dropped => Vec::new(),
        StackEnd::Exit(fate, cut) => {
            let mut ends = vec![StackEnd::Dropped];
            if fate != Fate::Ok {
                ends.push(StackEnd::Exit(Fate::Ok, cut));
            }
            ends.extend(
                smaller_cut(cut)
                    .into_iter()
                    .map(|c| StackEnd::Exit(fate, c)),
            );
            ends
        }
    };
    all.extend(
        simpler
            .into_iter()
            .map(|end| Op::Stack(name, steps.to_vec(), end)),
    );
    all
}

fn smaller_step(step: &Step) -> Vec<Step> {
    match step {
        Step::Enter(name, spec, cut) => {
            let mut all: Vec<_> = smaller_spec(spec)
                .map(|spec| Step::Enter(*name, spec, *cut))
                .collect();
            let cuts = smaller_cut(*cut).into_iter();
            all.extend(cuts.map(|cut| Step::Enter(*name, spec.clone(), cut)));
            all
        }
        Step::Keep(..) => Vec::new(),
        Step::Release(lease, cut) => {
            let cuts = smaller_cut(*cut).into_iter();
            cuts.map(|cut| Step::Release(*lease, cut)).collect()
        }
        Step::Do(op) => smaller_op(op).into_iter().map(Step::Do).collect(),
    }
}

fn smaller_arm(arm: &Arm) -> impl Iterator<Item = Arm> + use<> {
    let mut all = Vec::new();
    for block in smaller(&arm.block) {
        all.push(Arm {
            block,
            ..arm.clone()
        });
    }
    for moves in smaller_names(&arm.moves) {
        all.push(Arm {
            moves,
            ..arm.clone()
        });
    }
    all.into_iter()
}

fn smaller_spec(spec: &Spec) -> impl Iterator<Item = Box<Spec>> + use<> {
    let mut all = Vec::new();
    let mut add = |change: &dyn Fn(&mut Spec)| {
        let mut smaller = Box::new(spec.clone());
        change(&mut smaller);
        if *smaller != *spec {
            all.push(smaller);
        }
    };
    add(&|spec| spec.enter = Block::default());
    add(&|spec| spec.exit = Block::default());
    add(&|spec| spec.entered = Fate::Ok);
    add(&|spec| spec.exited = Fate::Ok);
    add(&|spec| spec.limit = None);
    add(&|spec| spec.beside = None);
    if let Some(beside) = spec.beside {
        if beside.naps > 0 {
            let naps = beside.naps - 1;
            add(&|spec| spec.beside = Some(Beside { naps, ..beside }));
        }
        let fate = Some(Fate::Fail);
        add(&|spec| spec.beside = Some(Beside { fate, ..beside }));
    }
    add(&|spec| spec.inside = None);
    add(&|spec| spec.independent = false);
    for owns in smaller_names(&spec.owns) {
        add(&|spec| spec.owns.clone_from(&owns));
    }
    for block in smaller(&spec.enter) {
        add(&|spec| spec.enter.clone_from(&block));
    }
    for block in smaller(&spec.exit) {
        add(&|spec| spec.exit.clone_from(&block));
    }
    all.into_iter()
}

// As text.

fn names(names: &[Name]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("v{name}")).collect();
    names.join(" ")
}

impl Fate {
    fn note(self, what: &str) -> String {
        match self {
            Self::Ok => String::new(),
            Self::Fail => format!(" {what} fails"),
            Self::Panic => format!(" {what} panics"),
        }
    }
}

fn cut_note(cut: Cut) -> String {
    cut.map_or_else(String::new, |polls| format!(" dropped after {polls} polls"))
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text, 0);
        f.write_str(&text)
    }
}

impl Block {
    fn is_empty(&self) -> bool {
        self.ops.is_empty() && !self.has_local
    }

    fn write(&self, text: &mut String, indent: usize) {
        let pad = "  ".repeat(indent);
        if self.strict {
            let _ = writeln!(text, "{pad}(an error or a panic ends this block)");
        }
        if self.has_local {
            let _ = writeln!(text, "{pad}let _local = (its Drop panics)");
        }
        for op in &self.ops {
            op.write(text, indent);
        }
    }

    fn write_as(&self, title: &str, text: &mut String, indent: usize) {
        if !self.is_empty() {
            let _ = writeln!(text, "{}{title}:", "  ".repeat(indent));
            self.write(text, indent + 1);
        }
    }
}

impl Spec {
    fn notes(&self) -> String {
        let mut notes = String::new();
        if let Some(around) = self.inside {
            let _ = write!(notes, " inside v{around}");
        }
        if self.independent {
            notes += " independent";
        }
        if !self.owns.is_empty() {
            let _ = write!(notes, " owns {}", names(&self.owns));
        }
        if let Some(limit) = self.limit {
            let _ = write!(notes, " exit limit {limit}");
        }
        if let Some(Beside { naps, fate }) = self.beside {
            let how = match fate {
                None => " goes on".to_owned(),
                Some(Fate::Ok) => " ends well".to_owned(),
                Some(fate) => fate.note(""),
            };
            let _ = write!(notes, " beside{how} after {naps} naps");
        }
        notes + &self.entered.note("enter") + &self.exited.note("exit")
    }

    fn write(&self, text: &mut String, indent: usize) {
        self.enter.write_as("enter", text, indent);
        self.exit.write_as("exit", text, indent);
    }
}

impl Op {
    fn write(&self, text: &mut String, indent: usize) {
        let pad = "  ".repeat(indent);
        let _ = match self {
            Self::Open(name, spec, cut) => {
                let _ = writeln!(text, "{pad}open v{name}{}{}", spec.notes(), cut_note(*cut));
                spec.write(text, indent + 1);
                Ok(())
            }
            Self::With(name, spec, body, cut) => {
                let mut notes = spec.notes() + &body.fate.note("body");
                if !body.moves.is_empty() {
                    let _ = write!(notes, " moves {}", names(&body.moves));
                }
                if !body.leaves.is_empty() {
                    let _ = write!(notes, " leaves {}", names(&body.leaves));
                }
                let _ = writeln!(text, "{pad}with v{name}{notes}{}", cut_note(*cut));
                body.block.write_as("body", text, indent + 1);
                spec.write(text, indent + 1);
                Ok(())
            }
            Self::Drop(name) => writeln!(text, "{pad}drop v{name}"),
            Self::Close(name, fate, cut) => {
                let how = if *fate == Fate::Ok {
                    "close"
                } else {
                    "exit as failed"
                };
                writeln!(text, "{pad}{how} v{name}{}", cut_note(*cut))
            }
            Self::Task(arm, joined) => {
                let joined = if *joined { ", joined" } else { "" };
                let title = format!("task{joined}, moves {}", names(&arm.moves));
                let _ = writeln!(text, "{pad}{title}:");
                arm.block.write(text, indent + 1);
                Ok(())
            }
            Self::Join(arms) => {
                let _ = writeln!(text, "{pad}join");
                for arm in arms {
                    let _ = writeln!(text, "{pad}  arm, moves {}:", names(&arm.moves));
                    arm.block.write(text, indent + 2);
                }
                Ok(())
            }
            Self::Give(given, to) => writeln!(text, "{pad}give v{given} to v{to}"),
            Self::CloseAll => writeln!(text, "{pad}close all that is held"),
            Self::Run(name, block, cut) => {
                let _ = writeln!(text, "{pad}run in v{name}{}:", cut_note(*cut));
                block.write(text, indent + 1);
                Ok(())
            }
            Self::Sleep(length) => writeln!(text, "{pad}sleep {length}"),
            Self::Stack(name, steps, end) => {
                let end = match end {
                    StackEnd::Held => "held".to_owned(),
                    StackEnd::Dropped => "dropped".to_owned(),
                    StackEnd::Exit(fate, cut) => {
                        format!("exit{}{}", fate.note("body"), cut_note(*cut))
                    }
                };
                let _ = writeln!(text, "{pad}stack v{name}, then {end}");
                for step in steps {
                    step.write(text, indent + 1);
                }
                Ok(())
            }
        };
    }
}

impl Step {
    fn write(&self, text: &mut String, indent: usize) {
        let pad = "  ".repeat(indent);
        let _ = match self {
            Self::Enter(name, spec, cut) => {
                let _ = writeln!(text, "{pad}enter v{name}{}{}", spec.notes(), cut_note(*cut));
                spec.write(text, indent + 1);
                Ok(())
            }
            Self::Keep(entry, guard) => writeln!(text, "{pad}keep v{guard} (entry v{entry})"),
            Self::Release(lease, cut) => {
                writeln!(text, "{pad}release lease {lease}{}", cut_note(*cut))
            }
            Self::Do(op) => {
                op.write(text, indent);
                Ok(())
            }
        };
    }
}
