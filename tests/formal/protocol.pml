/* The protocol of one charge, as docs/charge-cycle.md describes it: one cycle, NW workers, one PortOne, one PG.

   A worker is one task: it claims the due cycle, or claims a look at the newest attempt. Freezing is free of charge: a task
   that is not scheduled is frozen, between any two statements and for as long as the search likes. Every lease may lapse at
   every moment, so another worker may always claim. Every atomic block that touches the database is one transaction.

   Left out: money, other cycles, operators, HELD for other reasons than too many attempts, a database that goes back in time
   (the simulation and the crash campaign have those).

   Bounds: NW workers, NA attempts, DECLINES_MAX declines by the PG, at most AGAIN_MAX resends of one attempt on their way at once.

   The world, one of:
     (default)           PortOne's paid-check is NOT atomic: two executions on one payment_id may both charge. In exchange, the
                         bounds of time hold: see "assumptions".
     -DATOMIC            the paid-check is atomic, and in exchange no bound of time holds but the last: a POST, or a worker
                         between its deadline check and its send, may be late by any time, so that keys are forgotten and
                         attempts voided under way.

   Assumptions (BOUNDED, that is without ATOMIC; dropping one by its switch must be found unsafe):
     T1  a send whose start was allowed reaches PortOne while its key is remembered          -DDROP_T1
     T2  when an attempt may be voided, none of its executions is running any more           -DDROP_T2
     T3  when an attempt may be voided, a payment that exists is shown to a look             -DDROP_T3
     T4  a decline turns into a payment only while no other try of the payment is executing  -DDROP_T4
   and in both worlds
     T5  after the last recheck nothing arrives, nothing runs and no decline turns into a payment      -DDROP_T5
     T6  PortOne takes no second payment for a payment_id that is paid                       (it is what ATOMIC means)

   Loosened variants, each a switch: NEW_ID_ON_TIMEOUT, ID_PER_ATTEMPT, NO_KEY, KEY_PER_SEND, NO_FENCE, NO_DEADLINE,
   ABSENT_IS_PROOF, DECLINE_WITHOUT_LOOK, ADVANCE_FIRST, REFUSAL_OF_A_RESENT, STALE_LOOK. NO_LATE takes away the declines that turn out paid, to show that something else
   suffices.

   -DREDUCED leaves out ways that lead nowhere new, and only these; not with CALM, nor with a variant that is loosened:
     R1  of idle workers, which are alike, the first one claims
     R2  a worker that has come to where it can only drop its work has dropped it: a claim or a look is overtaken, a key
         grows old, or the next attempt opens, when nobody is left whom that would bring there
     R3  with ATOMIC, a paid cycle is the end: it stays paid, and PortOne takes no second payment

   -DCALM adds one more question: from every reachable state, can the cycle still end? At any moment the world may become
   calm: nobody crashes, nothing is lost, time passes only when nothing else can happen. Then the cycle must come to its end.
*/

#ifndef NW
#define NW 2
#endif
#ifndef NA
#define NA 3
#endif
#ifndef DECLINES_MAX
#define DECLINES_MAX 2
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
#if defined(DROP_T1) || defined(ATOMIC)
#define T1 0
#else
#define T1 1
#endif
#if defined(DROP_T2) || defined(ATOMIC)
#define T2 0
#else
#define T2 1
#endif
#if defined(DROP_T3)
#define T3 0
#else
#define T3 1
#endif
#if defined(DROP_T4)
#define T4 0
#else
#define T4 1
#endif
#if defined(DROP_T5)
#define T5 0
#else
#define T5 1
#endif

/* The three promises. -DONLY_MONEY, -DONLY_TRUTH, -DONLY_REST check one and leave out the others. */
#if defined(ONLY_TRUTH) || defined(ONLY_REST)
#define MONEY(claim) true
#else
#define MONEY(claim) (claim)
#endif
#if defined(ONLY_MONEY) || defined(ONLY_REST) || defined(ATOMIC)
#define TRUTH(claim) true
#else
#define TRUTH(claim) (claim)
#endif
#if defined(ONLY_MONEY) || defined(ONLY_TRUTH)
#define REST(claim) true
#else
#define REST(claim) (claim)
#endif

#ifdef NO_LATE
#define LATE false
#else
#define LATE true
#endif

/* To PortOne a key that no second send carries is no key. */
#if defined(NO_KEY) || defined(KEY_PER_SEND)
#define KEY_PROTECTS 0
#else
#define KEY_PROTECTS 1
#endif
#if defined(ID_PER_ATTEMPT) || defined(NEW_ID_ON_TIMEOUT)
#define PAYMENT(attempt) (attempt)
#else
#define PAYMENT(attempt) 0
#endif
#ifdef CALM
#define CALM_NOW calm
#define LOOK_DUE (!calm || look_due)
bool calm = false;
bool look_due = true;
byte ticks = 0;
#define TICKS_MAX (2 * NA + 3)
#else
#define CALM_NOW false
#define LOOK_DUE true
#endif

#define NOBODY 255
#define ANSWER_COUNTS(a) (status[a] == OPEN || UNFENCED)

/* --- The database ---------------------------------------------------------------------------------------------------- */

/* A cycle's status. */
#define DUE 0
#define COLLECTING 1
#define PAID 2
#define GIVEN_UP 3
#define HELD 4
/* An attempt's status. */
#define NONE 0
#define OPEN 1
#define A_PAID 2
#define DECLINED 3
#define REFUSED 4
#define VOIDED 5

byte cycle = DUE;
byte claimant = NOBODY;     /* who holds the newest claim of the cycle: the claim's epoch, as far as a guard asks */
byte attempts = 0;          /* how many were opened; the newest is attempts - 1 */
byte status[NA];
byte looker = NOBODY;       /* who holds the newest claim of a look at the newest attempt: the look's epoch */
bool resent = false;        /* a resend of the newest attempt has been written down */
bool recheck = false;       /* the newest attempt is closed unpaid and will be looked at again */

/* --- PortOne and the network ----------------------------------------------------------------------------------------- */

byte net_first[NA];         /* first sends that have left a worker and not reached PortOne, by attempt, and so by key */
byte net_again[NA];         /* the same of resends */
byte running[NA];           /* executions under way */
bool charged[NA];           /* a try under this key has taken money */
bool failed[NA];            /* a try under this key has ended FAILED */
bool said_no[NA];           /* a POST under this key was answered "declined" */
bool refused_first[NA];     /* the first send was refused before any PG was asked, and the answer is on its way */
bool fresh_failure = false; /* a FAILED try has ended since the newest attempt was opened: what a look takes for ours */
bool paid[NA];              /* by payment_id: NA of them for the variants that make new ones */
byte charges = 0;           /* how often the customer's money was taken for this one period */
byte declines = 0;
bool late_over = false;     /* no decline can turn into a payment any more */

/* --- Time ------------------------------------------------------------------------------------------------------------ */

/* By attempt. False: sends may start, the key is remembered. True: no send may start, PortOne may forget the key, and a look
   that finds nothing may void the attempt. Three hours and twenty-four hours are one step here: nothing starts between. */
bool old[NA];
byte about_to_send[NA];     /* workers between their deadline check and the send itself */

#define IN_NET(a) (net_first[a] + net_again[a])

#ifdef NO_FENCE
#define UNFENCED true
#define MAY_OPEN true
#define MAY_RESEND true
#else
#define UNFENCED false
#define MAY_OPEN (claimant == me && cycle == DUE)
#define MAY_RESEND (looker == me && status[mine] == OPEN)
#endif
#ifdef REFUSAL_OF_A_RESENT
#define SENT_ONCE true
#else
#define SENT_ONCE (mine == attempts - 1 && !resent)
#endif

#ifdef REDUCED
bool busy[NW];
byte listening = 0;         /* workers that wait for an answer, or have one */
byte intending[NA];         /* workers between their intent, or note of a resend, and the check of the deadline */
#define MY_TURN ((me < 1 || busy[0]) && (me < 2 || busy[1]))
#define MAY_CLAIM (MY_TURN && claimant == NOBODY)
#define MAY_LOOK (MY_TURN && looker == NOBODY)
#define NOBODY_LISTENS (listening == 0)
#define NOBODY_INTENDS(a) (intending[a] == 0)
#define IS_BUSY busy[me] = true
#define NOT_BUSY busy[me] = false
#define INTENDS intending[mine]++
#define INTENDS_NO_MORE intending[mine]--
#define LISTENS listens = true; listening++
#define LISTENS_NO_MORE if :: listens -> listens = false; listening-- :: else fi
#define CLAIM_ENDS if :: claimant == me -> claimant = NOBODY :: else fi
#define LOOK_ENDS if :: looker == me -> looker = NOBODY :: else fi
#define LISTENS_IF_NEWEST if :: mine < attempts - 1 -> drop() :: else -> LISTENS fi
#else
#define MAY_CLAIM true
#define MAY_LOOK true
#define NOBODY_LISTENS true
#define NOBODY_INTENDS(a) true
#define IS_BUSY skip
#define NOT_BUSY skip
#define INTENDS skip
#define INTENDS_NO_MORE skip
#define LISTENS skip
#define LISTENS_NO_MORE skip
#define CLAIM_ENDS skip
#define LOOK_ENDS skip
#define LISTENS_IF_NEWEST skip
#endif
#if defined(REDUCED) && defined(ATOMIC)
#define GOES_ON (cycle != PAID)
#else
#define GOES_ON true
#endif

/* The worker is free, by death, time-out or the end of its work. */
inline drop() {
    LOOK_ENDS; LISTENS_NO_MORE; NOT_BUSY; mine = 0; first = false; verdict = NONE; goto idle
}

inline drop_claim() {
    CLAIM_ENDS; NOT_BUSY; goto idle
}

/* Young, the attempt may be sent again; old, it is void. */
inline nothing_found(a) {
    if
    :: old[a] -> LOOK_ENDS; verdict = VOIDED; printf("  nothing is there, and attempt %d is a day old\n", a + 1); goto decided
    :: !old[a] -> printf("  nothing is there, and attempt %d is young\n", a + 1); goto found_nothing
    fi
}

inline rest() {
#ifdef CALM
    if :: calm -> look_due = false :: !calm -> skip fi
#else
    skip
#endif
}

#define CLOSED (status[attempts - 1] != OPEN)
#define UNPAID_END (cycle == GIVEN_UP || cycle == HELD)
#define PAID_THERE(a) paid[PAYMENT(a)]
/* A record may lag behind, but not for a day, and not beyond the last recheck. */
#define MAY_LAG(a) (!CALM_NOW && !(T3 && old[a]))

/* Paid is believed at once, whoever says so. One that comes when the attempt is closed is overtaken: it is looked at again. */
inline settle_paid(a) {
    assert(TRUTH(charges >= 1));
    if
    :: status[a] == OPEN || UNFENCED ->
        printf("worker %d settles attempt %d as paid\n", me, a + 1); status[a] = A_PAID; cycle = PAID; recheck = false; forget_answers(a)
    :: !(status[a] == OPEN || UNFENCED) && a == attempts - 1 && status[a] != A_PAID -> recheck = true
    :: !(status[a] == OPEN || UNFENCED) && !(a == attempts - 1 && status[a] != A_PAID) -> skip
    fi
}

/* Any other verdict. It leaves the cycle due, for the next attempt, or given up. */
inline settle_unpaid(a, verdict) {
    if
    :: status[a] == OPEN || UNFENCED ->
        assert(TRUTH(verdict != DECLINED || failed[a]));
        assert(TRUTH(verdict == DECLINED || (!charged[a] && IN_NET(a) == 0)));
        assert(TRUTH(running[a] == 0));
        if
        :: verdict == DECLINED -> printf("worker %d settles attempt %d as declined\n", me, a + 1)
        :: verdict == REFUSED -> printf("worker %d settles attempt %d as refused\n", me, a + 1)
        :: verdict == VOIDED -> printf("worker %d settles attempt %d as voided\n", me, a + 1)
        fi;
        status[a] = verdict; recheck = true; forget_answers(a);
        if
        :: cycle = DUE
        :: verdict != VOIDED -> cycle = GIVEN_UP
        fi
    :: !(status[a] == OPEN || UNFENCED) -> skip
    fi
}

/* Of a closed attempt no answer changes anything: fewer states, and the same ways to go wrong. */
inline forget_answers(a) {
    if
    :: UNFENCED -> skip
    :: !UNFENCED -> said_no[a] = false; refused_first[a] = false; looker = NOBODY; resent = false; fresh_failure = false
    fi
}

proctype Worker(byte me) provided (GOES_ON) {
    byte mine = 0;      /* the attempt at hand */
    bool first = false; /* whether it is sent as the first, by the one who opened it */
    byte verdict = NONE;
#ifdef REDUCED
    bool listens = false;
#endif

idle:
end_idle:
    if
    :: atomic { cycle == DUE && MAY_CLAIM -> IS_BUSY; claimant = me; printf("worker %d claims the due cycle\n", me); goto claimed }
    /* A look at an open attempt: claim and GET. What is there to see stays; what is not there yet may come the moment after,
       so only of finding nothing it matters how old the finding is. */
    :: atomic { attempts > 0 && !CLOSED && cycle == COLLECTING && LOOK_DUE && MAY_LOOK ->
        IS_BUSY; LISTENS; mine = attempts - 1; looker = me; printf("worker %d claims a look at attempt %d and asks PortOne\n", me, mine + 1);
        if
        :: PAID_THERE(mine) -> settle_paid(mine); drop()
        :: !PAID_THERE(mine) && fresh_failure -> LOOK_ENDS; verdict = DECLINED; goto decided
        :: !PAID_THERE(mine) && !fresh_failure -> nothing_found(mine)
        :: (PAID_THERE(mine) || fresh_failure) && MAY_LAG(mine) -> nothing_found(mine)
        fi }
    /* A look at the newest attempt after it was closed unpaid: a late truth, or another recheck, or the last one. */
    :: atomic { attempts > 0 && recheck && CLOSED && cycle != PAID && LOOK_DUE && PAID_THERE(attempts - 1) ->
        printf("worker %d rechecks attempt %d and corrects it to paid\n", me, attempts);
        assert(TRUTH(charges >= 1)); status[attempts - 1] = A_PAID; cycle = PAID; recheck = false }
    :: atomic { attempts > 0 && recheck && CLOSED && cycle != PAID && LOOK_DUE && !PAID_THERE(attempts - 1) && late_over ->
        printf("worker %d makes the last recheck of attempt %d: not paid\n", me, attempts); recheck = false }
    fi;

claimed: /* A lease is held, and no intent is written. */
    if
    :: atomic { !CALM_NOW -> printf("worker %d dies before its intent\n", me); drop_claim() }
    :: atomic { !MAY_OPEN -> drop_claim() }
    :: atomic { MAY_OPEN && attempts == NA -> cycle = HELD; drop_claim() } /* so many: a person's */
    :: atomic { MAY_OPEN && attempts < NA && NOBODY_LISTENS ->
        mine = attempts; INTENDS; first = true; claimant = NOBODY; printf("worker %d commits the intent of attempt %d\n", me, mine + 1);
        status[mine] = OPEN; attempts++; recheck = false; late_over = false; fresh_failure = false; looker = NOBODY; resent = false;
#ifdef ADVANCE_FIRST
        cycle = GIVEN_UP /* the period is ticked off, whatever comes of the charge */
#else
        cycle = COLLECTING
#endif
       }
    fi;

intended: /* The intent, or the resend, is acknowledged. */
    if
    :: atomic { !CALM_NOW -> INTENDS_NO_MORE; drop() }
#ifdef NO_DEADLINE
    :: atomic { true -> INTENDS_NO_MORE; about_to_send[mine]++ }
#else
    :: atomic { !old[mine] -> INTENDS_NO_MORE; about_to_send[mine]++ }
    :: atomic { CALM_NOW && old[mine] -> drop() }
#endif
    fi;

/* Between the check of the deadline and the send. */
    if
    :: atomic { !CALM_NOW -> about_to_send[mine]--; drop() }
    :: atomic { first && net_first[mine] == 0 -> about_to_send[mine]--; net_first[mine]++;
        printf("worker %d sends attempt %d\n", me, mine + 1); LISTENS_IF_NEWEST }
    :: atomic { !first && net_again[mine] < AGAIN_MAX -> about_to_send[mine]--; net_again[mine]++;
        printf("worker %d sends attempt %d again\n", me, mine + 1); LISTENS_IF_NEWEST }
    fi;

sent:
    if
    :: atomic { !CALM_NOW -> printf("worker %d hears nothing of attempt %d\n", me, mine + 1); /* nothing came, or nothing that says anything, or this worker is dead */
#ifdef NEW_ID_ON_TIMEOUT
        settle_unpaid(mine, REFUSED);
#endif
        drop() }
    :: atomic { CALM_NOW && IN_NET(mine) == 0 && running[mine] == 0 && !charged[mine] && !said_no[mine] -> drop() }
    :: atomic { charged[mine] -> settle_paid(mine); drop() }
#ifdef DECLINE_WITHOUT_LOOK
    :: atomic { said_no[mine] -> verdict = DECLINED; printf("worker %d hears that attempt %d is declined, and believes it\n", me, mine + 1) }
#else
    :: atomic { said_no[mine] -> printf("worker %d hears that attempt %d is declined, and looks\n", me, mine + 1); /* declined, it says: look */
        if
        :: PAID_THERE(mine) -> settle_paid(mine); drop()
        :: !PAID_THERE(mine) && fresh_failure -> verdict = DECLINED
        :: (!PAID_THERE(mine) && !fresh_failure) || MAY_LAG(mine) -> rest(); drop()
        fi }
#endif
    :: atomic { refused_first[mine] && first -> refused_first[mine] = false; verdict = REFUSED; printf("worker %d hears that attempt %d is refused\n", me, mine + 1) }
    fi;

decided: /* A verdict is known and not written. */
    if
    :: atomic { !CALM_NOW -> drop() }
    :: atomic { verdict == REFUSED && !SENT_ONCE -> drop() } /* a refusal is believed of an attempt that was sent once */
    :: atomic { verdict == REFUSED && SENT_ONCE -> settle_unpaid(mine, REFUSED); drop() }
    :: atomic { verdict == DECLINED -> settle_unpaid(mine, DECLINED); drop() }
    :: atomic { verdict == VOIDED -> settle_unpaid(mine, VOIDED); drop() }
    fi;

found_nothing: /* PortOne knew nothing of it a moment ago, or longer; and its key is remembered. */
    if
    :: atomic { !CALM_NOW -> drop() }
#ifdef ABSENT_IS_PROOF
    :: atomic { true -> settle_unpaid(mine, VOIDED); drop() }
#else
    :: atomic { MAY_RESEND -> LOOK_ENDS; LISTENS_NO_MORE; INTENDS; resent = true; printf("worker %d writes down a resend of attempt %d\n", me, mine + 1); goto intended } /* written down, by its epoch, before a byte leaves */
    :: atomic { !MAY_RESEND -> drop() }
#endif
#ifdef STALE_LOOK
    :: atomic { old[mine] -> verdict = VOIDED; goto decided }
#endif
    fi
}

#define ALL_ARRIVED (IN_NET(0) + IN_NET(1) + IN_NET(NA - 1) + about_to_send[0] + about_to_send[1] + about_to_send[NA - 1] == 0)
#define NOTHING_RUNS (running[0] + running[1] + running[NA - 1] == 0)
#define ALL_OLD ((old[0] || attempts < 1) && (old[1] || attempts < 2) && (old[NA - 1] || attempts < NA))

inline take_money(a) {
    charged[a] = true;
    paid[PAYMENT(a)] = true;
    charges++;
    printf("PortOne takes the money for attempt %d: %d time(s) for this period\n", a + 1, charges);
    assert(MONEY(charges <= 1))
}

/* A POST arrives. The key comes first, then the paid-check; then an execution begins, which ends later. */
inline arrive(a) {
    if
    :: KEY_PROTECTS && running[a] > 0 -> printf("  its key is outstanding\n")
    :: KEY_PROTECTS && running[a] == 0 && (failed[a] || charged[a]) -> printf("  its key has an answer, which is said again\n")
    :: (!KEY_PROTECTS || (running[a] == 0 && (old[a] || !(failed[a] || charged[a])))) && paid[PAYMENT(a)] -> printf("  ALREADY_PAID\n")
    /* No key, an unknown key, or one that was forgotten. */
    :: (!KEY_PROTECTS || (running[a] == 0 && (old[a] || !(failed[a] || charged[a])))) && !paid[PAYMENT(a)] -> running[a]++; printf("  an execution begins\n")
    fi
}

/* PortOne, the PG and time, for one attempt and so for one key. */
proctype PortOne(byte a) provided (GOES_ON) {
end:
    do
    :: atomic { net_first[a] > 0 -> printf("the first send of attempt %d reaches PortOne\n", a + 1); net_first[a]--; arrive(a) }
    :: atomic { net_again[a] > 0 -> printf("a resend of attempt %d reaches PortOne\n", a + 1); net_again[a]--; arrive(a) }
    /* Refused before any PG is asked, for a wrong secret say: no trace in the memory of keys. */
    :: atomic { net_first[a] > 0 && !CALM_NOW -> net_first[a]--; refused_first[a] = ANSWER_COUNTS(a);
        printf("PortOne refuses the first send of attempt %d\n", a + 1) }
    :: atomic { net_again[a] > 0 && !CALM_NOW -> net_again[a]--; printf("PortOne refuses a resend of attempt %d\n", a + 1) }
    /* The PG takes the money. */
    :: atomic { running[a] > 0 ->
        running[a]--;
        if
        :: ATOMIC_CHECK && paid[PAYMENT(a)] -> skip
        :: else -> take_money(a)
        fi }
    /* The PG says no. */
    :: atomic { running[a] > 0 && declines < DECLINES_MAX ->
        running[a]--; printf("the PG declines attempt %d\n", a + 1); declines++; failed[a] = true; said_no[a] = ANSWER_COUNTS(a);
        fresh_failure = !CLOSED }
    /* PortOne's patience ends before the PG's work does: "declined" is answered, and the try is not at its end. */
    :: atomic { running[a] > 0 && !said_no[a] && ANSWER_COUNTS(a) && !CALM_NOW -> said_no[a] = true;
        printf("PortOne answers declined to attempt %d, which is still at the PG\n", a + 1) }
    /* A decline turns out paid. */
    :: atomic { failed[a] && !charged[a] && !paid[PAYMENT(a)] && !(T5 && late_over) && !CALM_NOW && LATE && !(T4 && !NOTHING_RUNS) ->
        printf("the decline of attempt %d turns out paid\n", a + 1); take_money(a) }
    /* Hours pass. */
    :: atomic { a < attempts && !old[a] && NOBODY_INTENDS(a) && !CALM_NOW && !(T1 && IN_NET(a) + about_to_send[a] > 0) && !(T2 && running[a] > 0) ->
        old[a] = true; printf("a day passes for attempt %d, its key is forgotten\n", a + 1) }
    od
}

/* The last recheck, rest, and calm. */
active proctype Days() {
end:
    do
    :: atomic { !CALM_NOW && !late_over && attempts > 0 && CLOSED && (!T5 || (ALL_ARRIVED && NOTHING_RUNS && ALL_OLD)) ->
        late_over = true; printf("the days of rechecking are over\n") }
    /* At rest: nothing is under way and nobody will look again. What PortOne has must be what is recorded. */
    :: atomic { ALL_ARRIVED && NOTHING_RUNS && charges > 0 && !recheck && attempts > 0 && CLOSED && UNPAID_END ->
        printf("at rest, with money at PortOne that is not recorded\n"); assert(REST(false)) }
#ifdef ADVANCE_FIRST
    /* Nobody looks at a period that is ticked off. */
    :: atomic { ALL_ARRIVED && NOTHING_RUNS && charges > 0 && !CLOSED && UNPAID_END -> printf("at rest, with money at PortOne that is not recorded\n"); assert(REST(false)) }
#endif
#ifdef CALM
    :: atomic { !calm -> calm = true }
    :: atomic { calm && timeout ->
        if
        :: (cycle == PAID || UNPAID_END) && !(recheck && charges > 0) -> break
        :: else ->
            assert(ticks < TICKS_MAX); /* still not at its end, though time has passed again and again */
            ticks++; look_due = true; late_over = true;
            if :: attempts > 0 -> old[attempts - 1] = true :: else fi
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
