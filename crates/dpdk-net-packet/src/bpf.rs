//! Classic BPF: the filters that `tcpdump -d` prints, verified once and then run over packets.
//!
//! What holds
//! - a program ends: jumps go forward only and its last instruction returns, so it runs each instruction once at most;
//! - nothing that a program asks for is outside of the packet or of its 16 words of memory: a load that is too far out ends
//!   it with 0, as in the kernel and in libpcap.
//!
//! What does not live here: the compiler from tcpdump's language (`pcap_compile` of libpcap), and the kernel's extensions
//! (loads from negative offsets), for which there is no meaning here.
//!
//! S. McCanne, V. Jacobson, "The BSD Packet Filter" (USENIX 1993); the rules of verification are those of Linux'
//! `bpf_check_classic`.

use alloc::boxed::Box;
use alloc::vec::Vec;

/// Instructions that a program has at most: `BPF_MAXINSNS`.
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Words of a program's scratch memory: `BPF_MEMWORDS`.
const WORDS: u32 = 16;

/// An instruction as it is exchanged: `struct bpf_insn` of libpcap, `struct sock_filter` of Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// How many instructions a conditional jump leaves out where the condition holds.
    pub jt: u8,
    /// How many where it does not.
    pub jf: u8,
    /// An operand: a number, an offset or a distance.
    pub k: u32,
}

/// Why instructions are no program. The index is that of the instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BpfError {
    /// There are none.
    #[error("the program is empty")]
    Empty,
    /// There are too many.
    #[error("the program has {0} instructions, {MAX_INSTRUCTIONS} are the most")]
    TooLong(usize),
    /// There is no such instruction.
    #[error("instruction {index}: there is no code {code:#x}")]
    BadCode {
        /// Which instruction.
        index: usize,
        /// Its code.
        code: u16,
    },
    /// It jumps out of the program.
    #[error("instruction {index}: jumps behind the end")]
    BadJump {
        /// Which instruction.
        index: usize,
    },
    /// It names a word of memory that is not there.
    #[error("instruction {index}: there is no word {word} of memory, the last is 15")]
    BadWord {
        /// Which instruction.
        index: usize,
        /// The word.
        word: u32,
    },
    /// It loads from where the kernel has its extensions, as the index of the interface.
    #[error("instruction {index}: what it loads is of the kernel alone")]
    Extension {
        /// Which instruction.
        index: usize,
    },
    /// It divides by zero, or shifts by more than a word has bits.
    #[error("instruction {index}: {k} can't be divided or shifted by")]
    BadOperand {
        /// Which instruction.
        index: usize,
        /// The number.
        k: u32,
    },
    /// The last instruction does not return.
    #[error("the program does not end with a return")]
    NoReturn,
}

/// Offsets from here on are the kernel's extensions: `SKF_AD_OFF`.
const EXTENSIONS: u32 = -0x1000_i32 as u32;

/// How much a load takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Word,
    Half,
    Byte,
}

/// Where the second operand comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operand {
    K(u32),
    X,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Or,
    And,
    Xor,
    ShiftLeft,
    ShiftRight,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Equal,
    Greater,
    GreaterOrEqual,
    AnyBit,
}

/// An instruction that has been verified. Jumps name the instruction that they lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Load(Width, u32),
    LoadIndexed(Width, u32),
    LoadLength,
    LoadNumber(u32),
    LoadMemory(u8),
    LoadXLength,
    LoadXNumber(u32),
    LoadXMemory(u8),
    /// The length of an IPv4 header: `4 * (P[k:1] & 0xf)`.
    LoadXHeader(u32),
    Store(u8),
    StoreX(u8),
    Arithmetic(Arithmetic, Operand),
    Negate,
    Jump(u16),
    JumpIf(Test, Operand, [u16; 2]),
    ToX,
    ToA,
    Return(u32),
    ReturnA,
}

/// A program that has been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    ops: Box<[Op]>,
}

impl Program {
    /// Verifies the instructions.
    ///
    /// # Errors
    /// [`BpfError`], of the first instruction that something is wrong with.
    pub fn new(instructions: &[Instruction]) -> Result<Self, BpfError> {
        let count = instructions.len();
        if count > MAX_INSTRUCTIONS {
            return Err(BpfError::TooLong(count));
        }
        let ops = instructions.iter().enumerate();
        let ops = ops.map(|(index, instruction)| verify(index, *instruction, count));
        let ops = ops.collect::<Result<Vec<_>, _>>()?;
        match ops.last() {
            None => Err(BpfError::Empty),
            Some(Op::Return(_) | Op::ReturnA) => Ok(Self { ops: ops.into() }),
            Some(_) => Err(BpfError::NoReturn),
        }
    }

    /// How many instructions it has.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// A program has instructions.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Runs it over a packet that has been `wire_len` bytes long, of which there may be fewer. Gives how many bytes are wanted of
    /// it, 0 for none.
    pub fn run(&self, packet: &[u8], wire_len: u32) -> u32 {
        self.execute(packet, wire_len).unwrap_or(0)
    }

    /// Runs it over the beginning of a packet that has been `wire_len` bytes long; `None` where it asks for what comes after that.
    pub fn run_on_head(&self, head: &[u8], wire_len: u32) -> Option<u32> {
        self.execute(head, wire_len).ok()
    }

    #[inline]
    fn execute(&self, packet: &[u8], wire_len: u32) -> Result<u32, Outside> {
        let (mut a, mut x) = (0_u32, 0_u32);
        let mut memory = [0_u32; WORDS as usize];
        let mut next = 0_usize;
        while let Some(op) = self.ops.get(next) {
            next += 1;
            let operand = |operand| match operand {
                Operand::K(k) => k,
                Operand::X => x,
            };
            match *op {
                Op::Load(width, at) => a = load(packet, width, at.into())?,
                Op::LoadIndexed(width, at) => {
                    a = load(packet, width, u64::from(x) + u64::from(at))?;
                }
                Op::LoadLength => a = wire_len,
                Op::LoadNumber(k) => a = k,
                Op::LoadMemory(word) => a = memory.get(usize::from(word)).copied().unwrap_or(0),
                Op::LoadXLength => x = wire_len,
                Op::LoadXNumber(k) => x = k,
                Op::LoadXMemory(word) => x = memory.get(usize::from(word)).copied().unwrap_or(0),
                Op::LoadXHeader(at) => x = (load(packet, Width::Byte, at.into())? & 0xf) << 2,
                Op::Store(word) => {
                    if let Some(place) = memory.get_mut(usize::from(word)) {
                        *place = a;
                    }
                }
                Op::StoreX(word) => {
                    if let Some(place) = memory.get_mut(usize::from(word)) {
                        *place = x;
                    }
                }
                Op::Arithmetic(arithmetic, by) => match calculate(arithmetic, a, operand(by)) {
                    Some(value) => a = value,
                    None => return Ok(0),
                },
                Op::Negate => a = a.wrapping_neg(),
                Op::Jump(to) => next = to.into(),
                Op::JumpIf(test, with, [then, otherwise]) => {
                    let with = operand(with);
                    let holds = match test {
                        Test::Equal => a == with,
                        Test::Greater => a > with,
                        Test::GreaterOrEqual => a >= with,
                        Test::AnyBit => a & with != 0,
                    };
                    next = if holds { then } else { otherwise }.into();
                }
                Op::ToX => x = a,
                Op::ToA => a = x,
                Op::Return(value) => return Ok(value),
                Op::ReturnA => return Ok(a),
            }
        }
        Ok(0)
    }

    /// Whether it wants a packet that is all there.
    pub fn matches(&self, packet: &[u8]) -> bool {
        self.run(packet, u32::try_from(packet.len()).unwrap_or(u32::MAX)) != 0
    }
}

/// A load from where the packet is not.
struct Outside;

/// In network order.
#[inline]
fn load(packet: &[u8], width: Width, at: u64) -> Result<u32, Outside> {
    let load = || {
        let rest = packet.get(usize::try_from(at).ok()?..)?;
        Some(match width {
            Width::Word => u32::from_be_bytes(*rest.first_chunk()?),
            Width::Half => u16::from_be_bytes(*rest.first_chunk()?).into(),
            Width::Byte => (*rest.first()?).into(),
        })
    };
    load().ok_or(Outside)
}

/// `None` for a division by zero. Shifting by more than a word has bits leaves nothing.
#[inline]
fn calculate(arithmetic: Arithmetic, a: u32, by: u32) -> Option<u32> {
    Some(match arithmetic {
        Arithmetic::Add => a.wrapping_add(by),
        Arithmetic::Sub => a.wrapping_sub(by),
        Arithmetic::Mul => a.wrapping_mul(by),
        Arithmetic::Div => a.checked_div(by)?,
        Arithmetic::Mod => a.checked_rem(by)?,
        Arithmetic::Or => a | by,
        Arithmetic::And => a & by,
        Arithmetic::Xor => a ^ by,
        Arithmetic::ShiftLeft => a.checked_shl(by).unwrap_or(0),
        Arithmetic::ShiftRight => a.checked_shr(by).unwrap_or(0),
    })
}

/// What an instruction of a program with so many does.
fn verify(index: usize, instruction: Instruction, count: usize) -> Result<Op, BpfError> {
    let Instruction { code, jt, jf, k } = instruction;
    // Codes are of three parts: BPF_CLASS, BPF_SIZE and BPF_MODE of loads, BPF_OP and BPF_SRC of the rest.
    let (class, bad) = (code & 0x07, Err(BpfError::BadCode { index, code }));
    let word = || match u8::try_from(k) {
        Ok(word) if k < WORDS => Ok(word),
        _ => Err(BpfError::BadWord { index, word: k }),
    };
    // All targets fit: a program has 4,096 instructions at most.
    let target = |distance: u32| match u32::try_from(index + 1)
        .ok()
        .and_then(|next| next.checked_add(distance))
    {
        Some(target) if (target as usize) < count => Ok(target as u16),
        _ => Err(BpfError::BadJump { index }),
    };
    let operand = || {
        if code & 0x08 == 0 {
            Operand::K(k)
        } else {
            Operand::X
        }
    };
    match (class, code & !0x07) {
        (0x00, 0x20 | 0x28 | 0x30) if k >= EXTENSIONS => Err(BpfError::Extension { index }),
        (0x00, 0x20) => Ok(Op::Load(Width::Word, k)),
        (0x00, 0x28) => Ok(Op::Load(Width::Half, k)),
        (0x00, 0x30) => Ok(Op::Load(Width::Byte, k)),
        (0x00, 0x40) => Ok(Op::LoadIndexed(Width::Word, k)),
        (0x00, 0x48) => Ok(Op::LoadIndexed(Width::Half, k)),
        (0x00, 0x50) => Ok(Op::LoadIndexed(Width::Byte, k)),
        (0x00, 0x80) => Ok(Op::LoadLength),
        (0x00, 0x00) => Ok(Op::LoadNumber(k)),
        (0x00, 0x60) => Ok(Op::LoadMemory(word()?)),
        (0x01, 0x80) => Ok(Op::LoadXLength),
        (0x01, 0x00) => Ok(Op::LoadXNumber(k)),
        (0x01, 0x60) => Ok(Op::LoadXMemory(word()?)),
        (0x01, 0xb0) => Ok(Op::LoadXHeader(k)),
        (0x02, 0x00) => Ok(Op::Store(word()?)),
        (0x03, 0x00) => Ok(Op::StoreX(word()?)),
        (0x04, 0x80) => Ok(Op::Negate),
        (0x04, rest) => {
            let arithmetic = match rest & 0xf0 {
                0x00 => Arithmetic::Add,
                0x10 => Arithmetic::Sub,
                0x20 => Arithmetic::Mul,
                0x30 => Arithmetic::Div,
                0x40 => Arithmetic::Or,
                0x50 => Arithmetic::And,
                0x60 => Arithmetic::ShiftLeft,
                0x70 => Arithmetic::ShiftRight,
                0x90 => Arithmetic::Mod,
                0xa0 => Arithmetic::Xor,
                _ => return bad,
            };
            let refused = match (arithmetic, operand()) {
                (Arithmetic::Div | Arithmetic::Mod, Operand::K(k)) => k == 0,
                (Arithmetic::ShiftLeft | Arithmetic::ShiftRight, Operand::K(k)) => k >= u32::BITS,
                _ => false,
            };
            if rest > 0xff {
                bad
            } else if refused {
                Err(BpfError::BadOperand { index, k })
            } else {
                Ok(Op::Arithmetic(arithmetic, operand()))
            }
        }
        (0x05, 0x00) => Ok(Op::Jump(target(k)?)),
        (0x05, rest) => {
            let test = match rest & 0xf0 {
                0x10 => Test::Equal,
                0x20 => Test::Greater,
                0x30 => Test::GreaterOrEqual,
                0x40 => Test::AnyBit,
                _ => return bad,
            };
            if rest > 0xff {
                return bad;
            }
            let targets = [target(jt.into())?, target(jf.into())?];
            Ok(Op::JumpIf(test, operand(), targets))
        }
        (0x06, 0x00) => Ok(Op::Return(k)),
        (0x06, 0x10) => Ok(Op::ReturnA),
        (0x07, 0x00) => Ok(Op::ToX),
        (0x07, 0x80) => Ok(Op::ToA),
        _ => bad,
    }
}

#[cfg(test)]
mod tests;
