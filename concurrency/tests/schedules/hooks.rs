//! The hook is replaced while other threads report.

use std::thread::{self, block_on};

use crate::detached;
use crate::ledger::{Ledger, Step, Trouble};
use crate::report::{self, Kind, set_hook};
use crate::steps::{in_use, tell};

const REPORTED: Step = Step::Reported(Kind::NotRun);

#[test]
fn each_report_goes_to_one_hook_while_it_is_replaced() {
    tell(|old| {
        let new = Ledger::default();
        let others = ["one", "two"].map(|name| {
            thread::spawn(move || {
                report::plain(name, Kind::NotRun);
                report::plain(name, Kind::NotRun);
            })
        });
        new.hook();
        report::plain("own", Kind::NotRun);
        for other in others {
            other.join().expect("it does not panic");
        }
        for name in ["one", "two"] {
            let told = old.count(name, REPORTED) + new.count(name, REPORTED);
            assert_eq!(told, 2, "{old:?} {new:?}");
        }
        assert_eq!(
            (old.count("own", REPORTED), new.count("own", REPORTED)),
            (0, 1)
        );
    });
}

#[test]
fn a_hook_may_replace_the_hook_while_others_do() {
    tell(|old| {
        let (new, other) = (Ledger::default(), Ledger::default());
        let (next, noted) = (new.clone(), old.clone());
        set_hook(move |report| {
            next.hook();
            noted.note(report.context(), Step::Reported(report.kind()));
        });
        let reporter = thread::spawn(|| report::plain("one", Kind::NotRun));
        let replacer = {
            let other = other.clone();
            thread::spawn(move || other.hook())
        };
        report::plain("two", Kind::NotRun);
        reporter.join().expect("it does not panic");
        replacer.join().expect("it does not panic");
        for name in ["one", "two"] {
            let told = [old, &new, &other].map(|ledger| ledger.count(name, REPORTED));
            assert_eq!(told.iter().sum::<usize>(), 1, "{told:?}");
        }
    });
}

#[test]
fn what_a_replaced_hook_held_may_report() {
    struct Reports;

    impl Drop for Reports {
        fn drop(&mut self) {
            report::plain("dropped", Kind::NotRun);
        }
    }

    tell(|old| {
        let new = Ledger::default();
        let (reports, noted) = (Reports, old.clone());
        set_hook(move |report| {
            let _held = &reports;
            noted.note(report.context(), Step::Reported(report.kind()));
        });
        let reporter = thread::spawn(|| report::plain("one", Kind::NotRun));
        new.hook();
        reporter.join().expect("it does not panic");
        let told = |name| old.count(name, REPORTED) + new.count(name, REPORTED);
        assert_eq!((told("one"), told("dropped")), (1, 1));
        assert_eq!(new.count("dropped", REPORTED), 1);
    });
}

#[test]
fn the_error_of_an_exit_in_the_background_goes_to_one_hook() {
    tell(|old| {
        let new = Ledger::default();
        let failing = old.exiting("failing", async { Err(Trouble) });
        drop(block_on(in_use(failing)));
        new.hook();
        block_on(detached::drain());
        let failed = Step::Reported(Kind::ExitFailed);
        let told = old.count("failing", failed) + new.count("failing", failed);
        assert_eq!(told, 1, "{old:?} {new:?}");
    });
}
