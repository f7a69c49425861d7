//! Nesting, written flat.

use async_context_manager::{
    async_with,
    contexts::{join, ready},
    prelude::*,
};
use tests::{
    ByHand, End, Fault, Ledger, Script, cancel_at_every_poll, everywhere, generated,
    generated_suppressing, pause,
};

#[test]
fn contexts_are_entered_in_order_and_later_ones_see_earlier_values() {
    #[async_context]
    async fn next(ledger: Ledger, after: u8) -> Result<u8, Fault> {
        ledger.note(format!("enter {}", after + 1));
        let (value, _) = yield_!(after + 1);
        ledger.note(format!("exit {value}"));
        Ok(())
    }

    everywhere(async |_| {
        let ledger = Ledger::default();
        let result = async_with!(
            one = next(ledger.clone(), 0),
            two = next(ledger.clone(), *one),
            three = next(ledger.clone(), *one + *two),
            => {
                ledger.note("body");
                *two += 10;
                Ok(u32::from(*one) + u32::from(*two) + u32::from(*three))
            },
        );
        assert_eq!(result, Ok(17));
        assert_eq!(
            ledger.text(),
            "enter 1, enter 2, enter 4, body, exit 4, exit 12, exit 1"
        );
    });
}

#[test]
fn patterns_and_any_expression_do() {
    async fn work(value: &mut u8) -> Result<u8, Fault> {
        pause(1).await;
        *value += 1;
        Ok(*value)
    }

    everywhere(async |_| {
        assert_eq!(async_with!(one = ready(1) => work(one).await), Ok(2));
        let sum = async_with!((a, b) = join((ready(1), ready(2))), () = ready(()) => Ok::<_, Fault>(*a + *b));
        assert_eq!(sum, Ok(3));
    });
}

#[test]
fn errors_of_the_block_and_of_each_context_come_back() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let make = |name| generated(Script::new(name, &ledger));
        let refused = || generated(Script::new("c", &ledger).enter(End::Fail("e")));
        let result = async_with!(_ = make("a"), _ = refused(), _ = make("never") => Ok(()));
        assert_eq!(result, Err(Fault("e")));
        assert!(!ledger.has("enter never"));
        let result: Result<(), _> = async_with!(_ = make("a"), _ = make("b") => {
            Err(Fault("b"))?;
            unreachable!("the question mark ends the block")
        });
        assert_eq!(result, Err(Fault("b")));
        ledger.check_nesting();
        assert!(ledger.has("exit b: failed(Fault(\"b\"))"));
    });
}

#[test]
fn a_suppressing_context_makes_an_option_of_the_result() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let outer = generated_suppressing(Script::new("a", &ledger).exit(End::Suppress));
        let inner = generated(Script::new("b", &ledger));
        let result: Result<Option<()>, _> = async_with!(_ = outer, _ = inner => Err(Fault("b")));
        assert_eq!(result, Ok(None));
    });
}

#[test]
fn dropped_at_every_poll_all_are_exited_once_in_order() {
    everywhere(async |stage| {
        cancel_at_every_poll(
            stage,
            async |ledger| {
                let make = |name| generated(Script::new(name, &ledger));
                let by_hand = ByHand::<()>::new(Script::new("b", &ledger));
                async_with!(_ = make("a"), _ = by_hand, _ = make("c") => Ok(pause(2).await))
            },
            |_, ended, ledger| {
                ledger.check_nesting();
                assert!(ended.is_none_or(|result| result.is_ok()));
            },
        )
        .await;
    });
}

/// Where the value has a lifetime, and the future is part of one that has to be `Send`.
#[test]
fn async_with_is_send_in_a_spawned_task() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let make = |name| generated(Script::new(name, &ledger));
        let (first, second) = (make("a"), make("b"));
        let task =
            tokio::spawn(
                async move { async_with!(a = first, b = second => Ok(format!("{a}{b}"))) },
            );
        assert_eq!(task.await.expect("it ends"), Ok("ab".to_owned()));
        ledger.check_nesting();
    });
}
