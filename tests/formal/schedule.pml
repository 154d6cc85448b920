/* A booking beside a direct charge: one cycle in schedule mode, NW workers, one PortOne with schedules, as
   docs/adr/0011-a-booking-is-an-attempt.md and billing_worker/billing/booking.py have it. What is said at the head of
   protocol.pml of workers, freezing, leases and transactions holds here too.

   A cycle is opened ahead of its time and booked; the booking is an attempt under the cycle's payment_id, open until what became
   of it is known. PortOne fires it by itself, at its time or any time later. A price may change once while the time has not come,
   the subscription may be cancelled, somebody may revoke the schedule at the console. Time is three steps for the cycle: AHEAD,
   when it may be booked and nothing fires; OWED, when schedules fire and the cycle may be charged; LOST, an hour later, when a
   booking of which nothing is found is void. And one for each attempt, "old", as in protocol.pml.

   Left out, since protocol.pml has it: cycles whose time comes before they are booked, rechecks of closed attempts, and a decline
   that is answered while the PG is still at work.
   Left out altogether: cards (they go the way of prices), schedules moved at the console, operators who retry or skip.

   The world, one of:
     (default)           PortOne's checks of what else is on a payment_id are NOT atomic, and a living schedule keeps nobody
                         out: what is seen is a payment that is there when a try begins. The bounds of time hold.
     -DATOMIC            a payment_id is paid once, however the tries fall. No bound of time holds, and no record need be shown:
                         only the promise about money is asked.

   Assumptions (without ATOMIC; dropping one that has a switch must be found unsafe; T1 to T4 are those of protocol.pml, which
   drops T2 and T4 for both):
     T1  a send whose start was allowed arrives while its key is remembered, and a booking's within an hour of its time  -DDROP_T1
     T2  when an attempt may be voided, none of its charges is running any more
     T3  when an attempt may be voided, a payment or schedule that exists is shown to a look                             -DDROP_T3
     T4  a decline turns into a payment only while nothing else on its payment_id is executing
     T7  when a booking that shall be taken back is taken to be at rest, all its sends have arrived                      -DDROP_T7
     T8  and it is shown to a look                                                                                       -DDROP_T8
     T9  nobody at the console brings a revoked schedule back                                                            -DDROP_T9
   T5 and T6 are of protocol.pml alone.

   Loosened variants, each a switch: CHARGE_BESIDE, BELIEVE_REVOCATION, VOID_WHEN_LOST, NEW_ID, REVOKE_BY_KEY, NO_DUE_CHECK,
   NO_PRICE_FENCE, PRICE_KEPT (a booking that ends unpaid after its time leaves the cycle the price that was replaced before it),
   NO_DEADLINE. NO_LATE takes away the declines that turn out paid; NO_PRICE, NO_CANCEL and NO_CONSOLE take away what their names
   say, to ask about the rest with larger bounds.

   -DCALM asks as well: from every reachable state, can the cycle still end? See protocol.pml.
*/

#ifndef NW
#define NW 2
#endif
#ifndef NA
#define NA 3
#endif
#ifndef DECLINES_MAX
#define DECLINES_MAX 1
#endif
#ifndef AGAIN_MAX
#define AGAIN_MAX 1
#endif

#ifdef ATOMIC
#define ATOMIC_CHECK 1
#define BOUNDED 0
#else
#define ATOMIC_CHECK 0
#define BOUNDED 1
#endif
#ifdef DROP_T1
#define T1 0
#else
#define T1 BOUNDED
#endif
#define T2 BOUNDED
#ifdef DROP_T3
#define T3 0
#else
#define T3 BOUNDED
#endif
#define T4 BOUNDED
#ifdef DROP_T7
#define T7 0
#else
#define T7 BOUNDED
#endif
#ifdef DROP_T8
#define T8 0
#else
#define T8 BOUNDED
#endif
#if defined(DROP_T9) || defined(ATOMIC)
#define T9 0
#else
#define T9 1
#endif

/* The promises. -DONLY_MONEY, -DONLY_RECALL and -DONLY_TERMS check one of them and leave out the others.
   MONEY   the period is paid at most once.
   RECALL  what was settled as revoked is never paid, and is not settled so while it may still fire; a verdict is PortOne's truth.
   TERMS   nothing is charged before its time; what is opened after a price change has the new price, unless PortOne had begun to
           charge the old one; nothing is opened for a cancelled subscription; no other cycle's schedule is touched. */
#if defined(ONLY_RECALL) || defined(ONLY_TERMS)
#define MONEY(claim) true
#else
#define MONEY(claim) (claim)
#endif
#if defined(ONLY_MONEY) || defined(ONLY_TERMS) || defined(ATOMIC)
#define RECALL(claim) true
#else
#define RECALL(claim) (claim)
#endif
#if defined(ONLY_MONEY) || defined(ONLY_RECALL)
#define TERMS(claim) true
#else
#define TERMS(claim) (claim)
#endif

#ifdef NO_LATE
#define LATE false
#else
#define LATE true
#endif
#ifdef NO_PRICE
#define PRICES false
#else
#define PRICES true
#endif
#ifdef NO_CANCEL
#define CANCELS false
#else
#define CANCELS true
#endif
#ifdef NO_CONSOLE
#define CONSOLE false
#else
#define CONSOLE true
#endif
#ifdef NEW_ID
#define PAYMENT(attempt) (attempt)
#else
#define PAYMENT(attempt) 0
#endif
#ifdef CALM
#define CALM_NOW calm
#define LOOK_DUE (!calm || look_due)
#define LOOKED if :: calm -> look_due = false :: else fi
bool calm = false;
bool look_due = true;
byte ticks = 0;
#define TICKS_MAX (4 * NA + 4)
#else
#define CALM_NOW false
#define LOOK_DUE true
#define LOOKED skip
#endif

#define NOBODY 255

/* --- The database ---------------------------------------------------------------------------------------------------- */

/* A cycle's status. */
#define DUE 0
#define COLLECTING 1
#define PAID 2
#define GIVEN_UP 3
#define HELD 4
#define SKIPPED 5
/* An attempt's status. */
#define NONE 0
#define OPEN 1
#define A_PAID 2
#define DECLINED 3
#define REFUSED 4
#define VOIDED 5
#define REVOKED 6

byte cycle = DUE;
bool cycle_price = false;   /* false: the old price, true: the new one */
bool price = false;         /* the same, of the subscription */
bool cancelled = false;     /* the subscription */
byte claimant = NOBODY;     /* who holds the newest claim of the cycle, and may use it: the claim's epoch, as far as a guard asks */
byte attempts = 0;
byte status[NA];
bool booking[NA];           /* the attempt is a booking: it has a time to pay */
bool amount[NA];            /* its price */
bool wish = false;          /* the newest attempt is a booking that shall be taken back: it has a revoke_reason */
bool named = false;         /* the newest attempt is a booking whose schedule_id is known */
byte looker = NOBODY;       /* who holds the newest claim of a look at the newest attempt: the look's epoch */
bool resent = false;        /* a resend of the newest attempt has been written down */

/* --- PortOne and the network ----------------------------------------------------------------------------------------- */

/* A schedule's status, by the key of the attempt that made it. */
#define S_NONE 0
#define S_SCHEDULED 1
#define S_STARTED 2
#define S_SUCCEEDED 3
#define S_FAILED 4
#define S_REVOKED 5

byte net_first[NA];         /* first sends that have left a worker and not reached PortOne */
byte net_again[NA];         /* the same of resends */
bool net_revoke[NA];        /* a request to revoke the schedule of this attempt is on its way */
byte schedule[NA];
byte running[NA];           /* direct charges under way */
bool charged[NA];           /* this attempt has taken money */
bool failed[NA];            /* a try of this attempt has ended FAILED */
bool refused_first[NA];     /* the first send was refused, and the answer is on its way */
bool fresh_failure = false; /* a FAILED try has ended since the newest attempt was opened: what a look takes for ours */
bool paid[NA];              /* by payment_id: NA of them for the variant that makes new ones */
byte charges = 0;
byte declines = 0;
bool console = false;       /* somebody has revoked a schedule at the console */
bool other_lives = true;    /* the schedule of another cycle, made with the same billing key */

/* --- Time ------------------------------------------------------------------------------------------------------------ */

#define AHEAD 0
#define OWED 1
#define LOST 2

byte time = AHEAD;
bool old[NA];               /* no send of it may start, PortOne may forget the key, and finding nothing may void it */
bool rested[NA];            /* a booking that shall be taken back was last sent so long ago that finding nothing says it is not there */

#define NEWEST (attempts - 1)
#define OPEN_BOOKING (attempts > 0 && status[NEWEST] == OPEN && booking[NEWEST])
#define IN_NET(a) (net_first[a] + net_again[a])
#define LIVES(a) (schedule[a] == S_SCHEDULED || schedule[a] == S_STARTED)
#define PAID_THERE(a) paid[PAYMENT(a)]
#define NOTHING_EXECUTES (running[0] + running[1] + running[NA - 1] == 0 && schedule[0] != S_STARTED && \
                          schedule[1] != S_STARTED && schedule[NA - 1] != S_STARTED)
#define BOOKINGS_ARRIVED ((!booking[0] || IN_NET(0) == 0) && (!booking[1] || IN_NET(1) == 0) && \
                          (!booking[NA - 1] || IN_NET(NA - 1) == 0))
/* A payment_id has one living schedule at a time: a look takes it for the newest attempt's, whoever made it. */
#define ALIVE (LIVES(mine) || LIVES(0) || LIVES(1) || LIVES(NA - 1))
#define MAY_BE_VOID(a) (old[a] || (booking[a] && time == LOST))
#define MAY_LAG(a) (!CALM_NOW && !(T3 && MAY_BE_VOID(a)) && !(T8 && rested[a]))

#define MAY_RESEND (looker == me && status[mine] == OPEN && !(booking[mine] && wish))
#ifdef NO_DEADLINE
#define MAY_START true
#else
#define MAY_START (!old[mine] && !(booking[mine] && (time != AHEAD || rested[mine])))
#endif
#ifdef CHARGE_BESIDE
#define TO_BE_CHARGED (cycle == DUE || (OPEN_BOOKING && cycle == COLLECTING && time != AHEAD))
#else
#define TO_BE_CHARGED (cycle == DUE)
#endif
#ifdef NO_PRICE_FENCE
#define FENCED skip
#else
#define FENCED claimant = NOBODY
#endif
#ifdef PRICE_KEPT
#define TAKES_PRICE(a) (time == AHEAD)
#else
#define TAKES_PRICE(a) (time == AHEAD || (booking[a] && wish))
#endif

#if defined(ATOMIC) && !defined(CALM)
#define GOES_ON (cycle != PAID) /* it stays paid, and PortOne takes no second payment */
#else
#define GOES_ON true
#endif

/* What is closed and has arrived is young or old to nobody, nor is a booking whose time has come. */
#define AGES(a) (!T1 || (status[a] == OPEN && !(booking[a] && time != AHEAD)))

/* Idle workers are alike: the first of them claims. */
bool busy[NW];
#define MY_TURN ((me < 1 || busy[0]) && (me < 2 || busy[1]))
#define CLAIMS busy[me] = true

/* The worker is free, by death, time-out or the end of its work. */
inline drop() {
    if :: claimant == me -> claimant = NOBODY :: else fi;
    if :: looker == me -> looker = NOBODY :: else fi;
    busy[me] = false; mine = 0; target = 0; first = false; book = false; priced = false; verdict = NONE; goto idle
}

inline settle_paid(a) {
    if
    :: status[a] == OPEN ->
        printf("worker %d settles attempt %d as paid\n", me, a + 1); status[a] = A_PAID; cycle = PAID; forget(a)
    :: else
    fi
}

/* Of a closed attempt no answer changes anything: fewer states, and the same ways to go wrong. */
inline forget(a) {
    refused_first[a] = false; looker = NOBODY; resent = false; fresh_failure = false; wish = false; named = false
}

/* A held cycle stays held, a skipped one skipped. A booking that was refused, taken back or lost is no reason to give up. */
inline settle_unpaid(a, verdict) {
    if
    :: status[a] == OPEN ->
        if
        :: verdict == DECLINED -> printf("worker %d settles attempt %d as declined\n", me, a + 1)
        :: verdict == REFUSED -> printf("worker %d settles attempt %d as refused\n", me, a + 1)
        :: verdict == VOIDED -> printf("worker %d settles attempt %d as voided\n", me, a + 1)
        :: verdict == REVOKED -> printf("worker %d settles attempt %d as revoked\n", me, a + 1)
        fi;
        assert(RECALL(verdict != DECLINED || failed[a]));
        assert(RECALL(verdict == DECLINED || (!charged[a] && (IN_NET(a) == 0 || (booking[a] && schedule[a] != S_NONE)))));
        assert(RECALL(running[a] == 0 && !LIVES(a)));
        status[a] = verdict;
        if
        :: cycle == COLLECTING ->
            if
            :: cycle = DUE
            :: verdict == DECLINED || (verdict == REFUSED && !booking[a]) -> cycle = GIVEN_UP
            fi;
            if
            :: cycle == DUE && verdict != DECLINED && TAKES_PRICE(a) -> cycle_price = price
            :: else
            fi
        :: else
        fi;
        forget(a)
    :: else
    fi
}

proctype Worker(byte me) provided (GOES_ON) {
    byte mine = 0;       /* the attempt at hand */
    byte target = 0;     /* whose schedule is to be revoked */
    bool first = false;  /* the attempt is sent as the first, by the one who opened it */
    bool book = false;   /* the cycle's time has not come: it is to be booked */
    bool priced = false; /* the price that was read with the claim */
    byte verdict = NONE;

idle:
end_idle:
    if
    :: atomic { cycle == DUE && cancelled && MY_TURN -> printf("worker %d skips the cycle of a cancelled subscription\n", me); cycle = SKIPPED }
    :: atomic { TO_BE_CHARGED && !cancelled && MY_TURN ->
        CLAIMS; claimant = me; priced = cycle_price; book = (time == AHEAD);
#ifdef NO_DUE_CHECK
        if :: book = false :: skip fi;
#endif
        printf("worker %d claims the due cycle\n", me); goto claimed }
    /* A look at an open charge, as in protocol.pml. */
    :: atomic { attempts > 0 && status[NEWEST] == OPEN && !booking[NEWEST] && LOOK_DUE && MY_TURN ->
        CLAIMS; LOOKED; mine = NEWEST; looker = me; printf("worker %d claims a look at attempt %d and asks PortOne\n", me, mine + 1);
        if
        :: PAID_THERE(mine) -> settle_paid(mine); drop()
        :: !PAID_THERE(mine) && fresh_failure -> verdict = DECLINED; goto decided
        :: (!PAID_THERE(mine) && !fresh_failure) || MAY_LAG(mine) ->
            if
            :: old[mine] -> verdict = VOIDED; goto decided
            :: else -> goto found_nothing
            fi
        fi }
    /* A look at an open booking. What the schedule says was read before what the payment says, and no schedule goes back from what
       it has come to, so one step shows what two would. */
    :: atomic { OPEN_BOOKING && LOOK_DUE && MY_TURN ->
        CLAIMS; LOOKED; mine = NEWEST; looker = me; printf("worker %d claims a look at booking %d and asks PortOne\n", me, mine + 1);
        if
        :: PAID_THERE(mine) -> settle_paid(mine); drop()
        :: !PAID_THERE(mine) && ALIVE ->
            if
            :: LIVES(mine) -> target = mine
            :: !LIVES(mine) && LIVES(0) -> target = 0
            :: !LIVES(mine) && !LIVES(0) && LIVES(1) -> target = 1
            :: else -> target = NA - 1
            fi;
            if
            :: schedule[target] == S_STARTED -> printf("  PortOne has begun to pay\n"); drop()
            :: schedule[target] == S_SCHEDULED && wish -> /* whatever is answered, a look decides */
                net_revoke[target] = true; printf("  it asks PortOne to revoke the schedule of attempt %d\n", target + 1);
#ifdef BELIEVE_REVOCATION
                settle_unpaid(mine, REVOKED);
#endif
                drop()
            :: schedule[target] == S_SCHEDULED && !wish && amount[target] == amount[mine] -> named = true; drop()
            :: else -> printf("  its price is another one: held\n"); cycle = HELD; drop()
            fi
        :: !PAID_THERE(mine) && !ALIVE && fresh_failure -> verdict = DECLINED; goto decided
        :: !PAID_THERE(mine) && !ALIVE && !fresh_failure && schedule[mine] == S_REVOKED ->
            if
            :: wish -> printf("  PortOne says that it is revoked\n"); verdict = REVOKED; goto decided
            :: else -> printf("  it was revoked, and not by us: held\n"); cycle = HELD; drop()
            fi
        :: (!PAID_THERE(mine) && !ALIVE && !fresh_failure && schedule[mine] != S_REVOKED) || MAY_LAG(mine) ->
            if
            :: wish && rested[mine] -> printf("  there is nothing to take back\n"); verdict = REVOKED; goto decided
            :: !wish && cycle == COLLECTING && (time == LOST || (old[mine] && !named)) ->
                printf("  nothing is there, and it should be\n"); verdict = VOIDED; goto decided
            :: !wish && cycle == COLLECTING && time == AHEAD && !old[mine] && !named -> goto found_nothing
            :: else -> drop()
            fi
        fi }
    fi;

claimed: /* A lease is held, and no intent is written. What is to be done was decided when the cycle was claimed. */
    if
    :: atomic { !CALM_NOW -> drop() }
    :: atomic { !(claimant == me && TO_BE_CHARGED) -> drop() }
    :: atomic { claimant == me && TO_BE_CHARGED && attempts == NA -> cycle = HELD; drop() } /* so many: a person's */
    :: atomic { claimant == me && TO_BE_CHARGED && attempts < NA ->
        mine = attempts; attempts++; first = true; status[mine] = OPEN; booking[mine] = book; amount[mine] = priced; cycle = COLLECTING;
        if
        :: book -> printf("worker %d commits the intent of attempt %d, a booking\n", me, mine + 1)
        :: else -> printf("worker %d commits the intent of attempt %d, a charge\n", me, mine + 1)
        fi;
        assert(TERMS(priced == price || declines > 0));
        assert(TERMS(!cancelled));
        claimant = NOBODY; looker = NOBODY; resent = false; wish = false; named = false; fresh_failure = false;
        book = false; priced = false }
    fi;

intended: /* The intent, or the resend, is acknowledged. */
    if
    :: atomic { !CALM_NOW -> drop() }
    :: atomic { MAY_START && first -> net_first[mine]++;
        printf("worker %d sends attempt %d\n", me, mine + 1); assert(TERMS(booking[mine] || time != AHEAD)) }
    :: atomic { MAY_START && !first && net_again[mine] < AGAIN_MAX -> net_again[mine]++;
        printf("worker %d sends attempt %d again\n", me, mine + 1); drop() }
    :: atomic { CALM_NOW && !MAY_START -> drop() }
    fi;

sent: /* The one who opened it listens. Of a decline it makes a look, which is one like any other; who has sent again does too. */
    if
    :: atomic { !CALM_NOW -> printf("worker %d hears nothing of attempt %d\n", me, mine + 1);
#ifdef VOID_WHEN_LOST
        if :: booking[mine] -> settle_unpaid(mine, VOIDED) :: else fi;
#endif
        drop() }
    :: atomic { CALM_NOW && IN_NET(mine) == 0 && running[mine] == 0 -> drop() }
    :: atomic { booking[mine] && schedule[mine] != S_NONE -> printf("worker %d hears that PortOne has booking %d\n", me, mine + 1);
        if :: mine == NEWEST && status[mine] == OPEN -> named = true :: else fi; drop() }
    :: atomic { !booking[mine] && charged[mine] -> settle_paid(mine); drop() }
    :: atomic { refused_first[mine] -> refused_first[mine] = false; verdict = REFUSED; printf("worker %d hears that attempt %d is refused\n", me, mine + 1) }
    fi;

decided: /* A verdict is known and not written. */
    if
    :: atomic { !CALM_NOW -> drop() }
    :: atomic { verdict == REFUSED && !(mine == NEWEST && !resent) -> drop() } /* a refusal is believed of an attempt that was sent once */
    :: atomic { verdict == REFUSED && mine == NEWEST && !resent -> settle_unpaid(mine, REFUSED); drop() }
    :: atomic { verdict == DECLINED -> settle_unpaid(mine, DECLINED); drop() }
    :: atomic { verdict == VOIDED -> settle_unpaid(mine, VOIDED); drop() }
    :: atomic { verdict == REVOKED -> settle_unpaid(mine, REVOKED); drop() }
    fi;

found_nothing: /* PortOne knew nothing of it a moment ago, or longer; and its key is remembered. */
    if
    :: atomic { !CALM_NOW -> drop() }
    :: atomic { MAY_RESEND -> resent = true; printf("worker %d writes down a resend of attempt %d\n", me, mine + 1); goto intended }
    :: atomic { !MAY_RESEND -> drop() }
    fi
}

inline take_money(a) {
    charged[a] = true;
    paid[PAYMENT(a)] = true;
    charges++;
    printf("PortOne takes the money for attempt %d: %d time(s) for this period\n", a + 1, charges);
    assert(MONEY(charges <= 1));
    assert(RECALL(status[a] != REVOKED))
}

inline decline(a) {
    printf("the PG declines attempt %d\n", a + 1); declines++; failed[a] = true; fresh_failure = (status[NEWEST] == OPEN)
}

/* A request arrives. The key comes first, then the paid-check. A booking that comes after its time is refused, or fires at once. */
inline arrive(a) {
    if
    :: !booking[a] && running[a] > 0 -> printf("  its key is outstanding\n")
    :: !booking[a] && running[a] == 0 && (failed[a] || charged[a]) && !old[a] -> printf("  its key has an answer, which is said again\n")
    :: !booking[a] && running[a] == 0 && (old[a] || !(failed[a] || charged[a])) && paid[PAYMENT(a)] -> printf("  ALREADY_PAID\n")
    :: !booking[a] && running[a] == 0 && (old[a] || !(failed[a] || charged[a])) && !paid[PAYMENT(a)] ->
        running[a]++; printf("  a charge begins\n")
    :: booking[a] && schedule[a] != S_NONE && (!old[a] || LIVES(a)) -> printf("  its key has an answer, which is said again\n")
    :: booking[a] && !(schedule[a] != S_NONE && (!old[a] || LIVES(a))) && paid[PAYMENT(a)] -> printf("  ALREADY_PAID_OR_WAITING\n")
    :: booking[a] && !(schedule[a] != S_NONE && (!old[a] || LIVES(a))) && !paid[PAYMENT(a)] ->
        schedule[a] = S_SCHEDULED; printf("  it is booked\n")
    fi
}

/* PortOne, the PG and time, for one attempt and so for one key. */
proctype PortOne(byte a) provided (GOES_ON) {
end:
    do
    :: atomic { net_first[a] > 0 -> printf("the first send of attempt %d reaches PortOne\n", a + 1); net_first[a]--; arrive(a) }
    :: atomic { net_again[a] > 0 -> printf("a resend of attempt %d reaches PortOne\n", a + 1); net_again[a]--; arrive(a) }
    /* Refused: for a wrong secret, a deleted card, or a schedule that is there. Only of the first send it may be believed. */
    :: atomic { net_first[a] > 0 && !CALM_NOW -> net_first[a]--; refused_first[a] = (status[a] == OPEN);
        printf("PortOne refuses the first send of attempt %d\n", a + 1) }
    :: atomic { net_again[a] > 0 && !CALM_NOW -> net_again[a]--; printf("PortOne refuses a resend of attempt %d\n", a + 1) }
    /* A direct charge comes to its end. */
    :: atomic { running[a] > 0 ->
        running[a]--;
        if
        :: ATOMIC_CHECK && paid[PAYMENT(a)] -> skip
        :: else -> take_money(a)
        fi }
    :: atomic { running[a] > 0 && declines < DECLINES_MAX -> running[a]--; decline(a) }
    /* A schedule fires, at its time or any time later, and comes to its end. */
    :: atomic { schedule[a] == S_SCHEDULED && time != AHEAD ->
        printf("PortOne fires the schedule of attempt %d\n", a + 1);
        if
        :: paid[PAYMENT(a)] -> schedule[a] = S_FAILED
        :: else -> schedule[a] = S_STARTED
        fi }
    :: atomic { schedule[a] == S_STARTED ->
        if
        :: ATOMIC_CHECK && paid[PAYMENT(a)] -> schedule[a] = S_FAILED
        :: else -> schedule[a] = S_SUCCEEDED; take_money(a)
        fi }
    :: atomic { schedule[a] == S_STARTED && declines < DECLINES_MAX -> schedule[a] = S_FAILED; decline(a) }
    /* A request to revoke: refused of what has begun, and it may be lost. */
    :: atomic { net_revoke[a] ->
        net_revoke[a] = false;
#ifdef REVOKE_BY_KEY
        other_lives = false; printf("PortOne revokes every schedule of the billing key\n"); assert(TERMS(other_lives));
#endif
        if
        :: schedule[a] == S_SCHEDULED -> schedule[a] = S_REVOKED; printf("PortOne revokes the schedule of attempt %d\n", a + 1)
        :: else -> printf("PortOne refuses to revoke the schedule of attempt %d\n", a + 1)
        fi }
    :: atomic { net_revoke[a] && !CALM_NOW -> net_revoke[a] = false }
    /* Somebody at the console. */
    :: atomic { CONSOLE && !CALM_NOW && !console && schedule[a] == S_SCHEDULED ->
        console = true; schedule[a] = S_REVOKED; printf("somebody revokes the schedule of attempt %d at the console\n", a + 1) }
    :: atomic { CONSOLE && !CALM_NOW && !T9 && !console && schedule[a] == S_REVOKED ->
        console = true; schedule[a] = S_SCHEDULED; printf("somebody brings the schedule of attempt %d back at the console\n", a + 1) }
    /* A decline turns out paid. */
    :: atomic { failed[a] && !charged[a] && !paid[PAYMENT(a)] && !CALM_NOW && LATE && !(T4 && !NOTHING_EXECUTES) ->
        printf("the decline of attempt %d turns out paid\n", a + 1); take_money(a) }
    /* Hours pass. */
    :: atomic { a < attempts && !old[a] && !CALM_NOW && AGES(a) && !(T1 && IN_NET(a) > 0) && !(T2 && running[a] > 0) ->
        old[a] = true; printf("a day passes for attempt %d, its key is forgotten\n", a + 1) }
    od
}

/* The customer, the merchant, and the cycle's time. */
active proctype World() provided (GOES_ON) {
end:
    do
    :: atomic { PRICES && !CALM_NOW && !price && time == AHEAD ->
        price = true; printf("the price changes\n");
        if
        :: cycle == DUE -> cycle_price = true; FENCED
        :: OPEN_BOOKING -> wish = true
        :: else
        fi }
    :: atomic { CANCELS && !CALM_NOW && !cancelled && (cycle == DUE || cycle == COLLECTING || cycle == HELD) ->
        cancelled = true; printf("the subscription is cancelled\n");
        if
        :: cycle == DUE -> cycle = SKIPPED; claimant = NOBODY
        :: OPEN_BOOKING -> wish = true
        :: else
        fi }
    :: atomic { time == AHEAD && attempts > 0 && !CALM_NOW -> time = OWED; printf("the cycle's time comes\n") }
    :: atomic { time == OWED && !CALM_NOW && !(T1 && !BOOKINGS_ARRIVED) -> time = LOST; printf("an hour passes\n") }
    /* Counted from the last moment at which a send may have begun. */
    :: atomic { OPEN_BOOKING && wish && !rested[NEWEST] && !CALM_NOW && !(T7 && IN_NET(NEWEST) > 0) ->
        rested[NEWEST] = true; printf("booking %d is taken to be at rest\n", attempts) }
#ifdef CALM
    :: atomic { !calm -> calm = true }
    :: atomic { calm && timeout ->
        if
        :: cycle == HELD || (cycle != DUE && cycle != COLLECTING && (attempts == 0 || status[NEWEST] != OPEN)) -> break
        :: else ->
            assert(ticks < TICKS_MAX); /* still not at its end, though time has passed again and again */
            ticks++; look_due = true;
            if
            :: OPEN_BOOKING && wish && !rested[NEWEST] -> rested[NEWEST] = true
            :: else ->
                if :: time < LOST -> time++ :: else fi;
                if :: attempts > 0 -> old[NEWEST] = true :: else fi
            fi
        fi }
#endif
    od
}

init {
    atomic {
        byte w = 0;
        do
        :: w < NA -> run PortOne(w); w++
        :: else -> break
        od;
        w = 0;
        do
        :: w < NW -> run Worker(w); w++
        :: else -> break
        od
    }
}
