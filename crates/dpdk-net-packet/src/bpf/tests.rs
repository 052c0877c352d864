use alloc::vec;
use std::vec::Vec;

use super::*;

fn of(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

const ALL: Instruction = Instruction {
    code: 0x06,
    jt: 0,
    jf: 0,
    k: 0x4_0000,
};

/// What the instructions and a return of A give.
fn value(instructions: &[Instruction], packet: &[u8]) -> u32 {
    let all = [instructions, &[of(0x16, 0, 0, 0)]].concat();
    Program::new(&all).unwrap().run(packet, 1_000)
}

fn refused(instructions: &[Instruction]) -> BpfError {
    Program::new(instructions).unwrap_err()
}

#[test]
fn loads_are_in_network_order_and_end_the_program_where_they_are_outside() {
    let packet = [0x45, 1, 2, 3, 4];
    assert_eq!(value(&[of(0x20, 0, 0, 1)], &packet), 0x0102_0304);
    assert_eq!(value(&[of(0x28, 0, 0, 3)], &packet), 0x0304);
    assert_eq!(value(&[of(0x30, 0, 0, 0)], &packet), 0x45);
    assert_eq!(
        value(&[of(0x80, 0, 0, 0)], &packet),
        1_000,
        "as on the wire"
    );
    // X = 4 * (0x45 & 0xf), and what lies 16 before that can't be.
    let indexed = [of(0xb1, 0, 0, 0), of(0x50, 0, 0, 0xffff_fff0)];
    assert_eq!(value(&indexed, &packet), 0, "offsets do not wrap");
    let five = [of(0x01, 0, 0, 3), of(0x50, 0, 0, 1), of(0x04, 0, 0, 1)];
    assert_eq!(value(&five, &packet), 5);
    for outside in [
        of(0x20, 0, 0, 2),
        of(0x28, 0, 0, 4),
        of(0x30, 0, 0, 5),
        of(0x30, 0, 0, 0xffff_efff),
        of(0xb1, 0, 0, 5),
    ] {
        // Something to return if it went on.
        let program = [of(0x00, 0, 0, 7), outside];
        assert_eq!(value(&program, &packet), 0, "{outside:?}");
    }
}

#[test]
fn a_head_is_enough_where_nothing_behind_it_is_asked_for() {
    // Byte 2 if byte 0 is 1, else 9.
    let program = [
        of(0x30, 0, 0, 0),
        of(0x15, 0, 2, 1),
        of(0x30, 0, 0, 2),
        of(0x16, 0, 0, 0),
        of(0x06, 0, 0, 9),
    ];
    let program = Program::new(&program).unwrap();
    assert_eq!(program.run_on_head(&[0, 5], 3), Some(9));
    assert_eq!(program.run_on_head(&[1, 5], 3), None);
    assert_eq!(program.run(&[1, 5], 3), 0);
    assert_eq!(program.run_on_head(&[1, 5, 7], 3), Some(7));
    // A division by zero ends it wherever the packet ends.
    let divide = [
        of(0x01, 0, 0, 0),
        of(0x3c, 0, 0, 0),
        of(0x30, 0, 0, 9),
        of(0x16, 0, 0, 0),
    ];
    assert_eq!(Program::new(&divide).unwrap().run_on_head(&[], 3), Some(0));
}

#[test]
fn arithmetic_wraps_and_a_division_by_zero_ends_the_program() {
    let by = |code, a, k| value(&[of(0x00, 0, 0, a), of(code, 0, 0, k)], &[]);
    let by_x = |code, a, x| {
        value(
            &[of(0x01, 0, 0, x), of(0x00, 0, 0, a), of(code | 8, 0, 0, 0)],
            &[],
        )
    };
    for (code, a, k, result) in [
        (0x04, u32::MAX, 2, 1),
        (0x14, 1, 2, u32::MAX),
        (0x24, 0x8000_0001, 2, 2),
        (0x34, 7, 2, 3),
        (0x44, 5, 2, 7),
        (0x54, 7, 10, 2),
        (0x64, 1, 31, 0x8000_0000),
        (0x74, 0x8000_0000, 31, 1),
        (0x94, 7, 4, 3),
        (0xa4, 6, 3, 5),
    ] {
        assert_eq!(
            (by(code, a, k), by_x(code, a, k)),
            (result, result),
            "{code:#x}"
        );
    }
    assert_eq!((by_x(0x34, 7, 0), by_x(0x94, 7, 0)), (0, 0));
    assert_eq!((by_x(0x64, 7, 32), by_x(0x74, 7, 99)), (0, 0));
    assert_eq!(
        value(&[of(0x00, 0, 0, 1), of(0x84, 0, 0, 0)], &[]),
        u32::MAX
    );
}

#[test]
fn memory_and_registers_keep_what_they_are_given() {
    let program = [
        of(0x00, 0, 0, 9),
        of(0x02, 0, 0, 15),
        of(0x07, 0, 0, 0),
        of(0x03, 0, 0, 0),
        of(0x00, 0, 0, 1),
        of(0x61, 0, 0, 15),
        of(0x87, 0, 0, 0),
    ];
    assert_eq!(value(&program, &[]), 9);
    assert_eq!(
        value(&[of(0x60, 0, 0, 3)], &[]),
        0,
        "what nothing was stored in"
    );
}

#[test]
fn jumps_go_where_the_condition_says() {
    let jump = |code, a, k| {
        let program = [
            of(0x00, 0, 0, a),
            of(code, 1, 0, k),
            of(0x06, 0, 0, 2),
            of(0x06, 0, 0, 1),
        ];
        Program::new(&program).unwrap().run(&[], 0)
    };
    for (code, holds, fails) in [(0x15, 5, 4), (0x25, 6, 5), (0x35, 5, 4), (0x45, 4, 10)] {
        assert_eq!(
            (jump(code, holds, 5), jump(code, fails, 5)),
            (1, 2),
            "{code:#x}"
        );
    }
    let over = [of(0x05, 0, 0, 1), of(0x06, 0, 0, 2), of(0x06, 0, 0, 1)];
    assert_eq!(Program::new(&over).unwrap().run(&[], 0), 1);
}

#[test]
fn what_is_no_program_is_refused() {
    assert_eq!(refused(&[]), BpfError::Empty);
    assert_eq!(
        refused(&vec![ALL; MAX_INSTRUCTIONS + 1]),
        BpfError::TooLong(4_097)
    );
    assert!(Program::new(&vec![ALL; MAX_INSTRUCTIONS]).is_ok());
    assert_eq!(refused(&[of(0x00, 0, 0, 0)]), BpfError::NoReturn);
    for jump in [
        of(0x05, 0, 0, 1),
        of(0x05, 0, 0, u32::MAX),
        of(0x15, 1, 0, 0),
        of(0x15, 0, 255, 0),
    ] {
        assert_eq!(
            refused(&[jump, ALL]),
            BpfError::BadJump { index: 0 },
            "{jump:?}"
        );
    }
    for code in [0x20, 0x28, 0x30] {
        let inbound = of(code, 0, 0, 0xffff_f004);
        assert_eq!(refused(&[inbound, ALL]), BpfError::Extension { index: 0 });
    }
    for code in [0x60, 0x61, 0x02, 0x03] {
        let bad = BpfError::BadWord { index: 1, word: 16 };
        assert_eq!(refused(&[ALL, of(code, 0, 0, 16), ALL]), bad);
        assert!(Program::new(&[of(code, 0, 0, 15), ALL]).is_ok());
    }
    for (code, k) in [(0x34, 0), (0x94, 0), (0x64, 32), (0x74, u32::MAX)] {
        assert_eq!(
            refused(&[of(code, 0, 0, k), ALL]),
            BpfError::BadOperand { index: 0, k }
        );
    }
}

#[test]
fn of_all_codes_those_of_linux_are_known() {
    let known = |code: u16| Program::new(&[of(code, 0, 0, 1), ALL, ALL]).is_ok();
    let known: Vec<u16> = (0..=u16::MAX).filter(|code| known(*code)).collect();
    // The table of `chk_code_allowed` of Linux' net/core/filter.c.
    let allowed = [
        0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x0c, 0x14, 0x15, 0x16, 0x1c, 0x1d, 0x20,
        0x24, 0x25, 0x28, 0x2c, 0x2d, 0x30, 0x34, 0x35, 0x3c, 0x3d, 0x40, 0x44, 0x45, 0x48, 0x4c,
        0x4d, 0x50, 0x54, 0x5c, 0x60, 0x61, 0x64, 0x6c, 0x74, 0x7c, 0x80, 0x81, 0x84, 0x87, 0x94,
        0x9c, 0xa4, 0xac, 0xb1,
    ];
    assert_eq!(known, allowed);
}
