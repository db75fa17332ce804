"""The people who come first in every seeded database, whatever its size or seed.

They're written by hand so that a demonstration of who sees what works at once: Ada and Grace are
friends, Alan has asked Ada and still waits, Grace moderates the tags, Srinivasa has no garden.
"""

from __future__ import annotations

from dataclasses import dataclass

from community_gql.actions.permissions import MANAGE_TAGS, WRITE_FEATURES, WRITE_MATCHES
from community_gql.db.models import StoryVisibility

PUBLIC, FRIENDS, PRIVATE = (
    StoryVisibility.PUBLIC,
    StoryVisibility.FRIENDS,
    StoryVisibility.PRIVATE,
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A story by hand; ``days`` before the end of the seeded time it was written."""

    days: int
    visibility: StoryVisibility
    title: str
    tags: tuple[str, ...]
    content: str


@dataclass(frozen=True, slots=True)
class Founder:
    """A person by hand. ``themes`` are indexes of ``vocabulary.THEMES``, dearest first."""

    auth0_sub: str
    email: str
    name: str
    bio: str
    journaling_frequency: int
    themes: tuple[int, ...]
    tags: tuple[str, ...]
    habits: tuple[tuple[str, str, str], ...]
    """Name, frequency and ``meta`` as JSON text."""
    garden: tuple[str, str] | None
    """Name and theme."""
    stories: tuple[Draft, ...]
    permissions: frozenset[str] = frozenset()


ADA = Founder(
    auth0_sub="auth0|ada",
    email="ada@example.com",
    name="Ada Lovelace",
    bio="I weave algebra as others weave flowers and leaves. Mother, letter writer, night owl.",
    journaling_frequency=5,
    themes=(10, 11, 8),
    tags=("mathematics", "curiosity", "music", "poetry", "growth", "gratitude"),
    habits=(
        ("Morning pages", "daily", '{"minutes": 20, "time": "morning", "medium": "ink"}'),
        ("Practise the harp", "custom", '{"days": ["mon", "wed", "fri"], "minutes": 30}'),
        ("Letter to Mr Babbage", "weekly", '{"day": "sunday", "pages": 4}'),
    ),
    garden=("The Analytical Garden", "vineyard"),
    stories=(
        Draft(
            2,
            PUBLIC,
            "Notes on a garden that computes",
            ("mathematics", "curiosity", "gardening"),
            """
I drew the beds as a table of operations this morning: what is sown, what is carried over to
the next season, what is taken away. It turns out that **crop rotation is a loop**, and that I
had been writing it for years without noticing.

- beans give to the soil
- cabbages take
- clover returns what the cabbages took

The engine may one day compose music. The garden already does.
""",
        ),
        Draft(
            9,
            FRIENDS,
            "The night I could not stop counting",
            ("mathematics", "sleep"),
            """
I was awake until four with the Bernoulli numbers. I know that I promised to rest, and I know
who is reading this. *Grace, you may scold me on Thursday.*

What kept me up was not the sum. It was the suspicion that a machine might be taught to be
patient where I'm not.
""",
        ),
        Draft(
            16,
            PRIVATE,
            "For my eyes only",
            ("journaling", "grief"),
            """
I dreamt of my father again. I never knew his voice, so the dream gives him mine.

I don't want to turn this into a lesson. I only want to have written it down.
""",
        ),
        Draft(
            44,
            PUBLIC,
            "What the harp taught me about debugging",
            ("music", "patience", "learning"),
            """
When a passage goes wrong, you don't begin again at the first bar. You find the smallest piece
that still fails, and you play it slowly until it stops failing.

> Nobody ever tuned a harp by being angry at it.
""",
        ),
        Draft(
            120,
            FRIENDS,
            "A small plan for the winter",
            ("goals", "habits"),
            """
Fewer visits, more walks, one proof a week. If you meet me at a ball before February, send me
home.
""",
        ),
    ),
)

GRACE = Founder(
    auth0_sub="auth0|grace",
    email="grace@example.com",
    name="Grace Hopper",
    bio="Rear admiral, compiler of things. I keep nanoseconds in my handbag. I tidy the tags here.",
    journaling_frequency=7,
    themes=(6, 10, 14),
    tags=("focus", "curiosity", "learning", "community", "courage", "boundaries"),
    habits=(
        ("Three good things", "daily", '{"count": 3, "time": "evening"}'),
        ("Ask why we do it this way", "daily", '{"minutes": 5, "at": "the first meeting"}'),
        ("Mend one thing", "monthly", '{"last": "an alarm clock"}'),
    ),
    garden=("Shipshape", "rooftop"),
    stories=(
        Draft(
            1,
            PUBLIC,
            "The most dangerous phrase in the garden",
            ("growth", "courage", "work"),
            """
*We've always done it this way.* I heard it at the allotment today, about where the water butt
stands. It stands in the wrong place. It has stood there since 1971.

Seven of us moved it in ten minutes. It's easier to ask forgiveness than permission, and much
easier to water the beans.
""",
        ),
        Draft(
            6,
            FRIENDS,
            "Eleven inches and eight tenths",
            ("learning", "focus"),
            """
I gave each of the children a wire as long as light travels in a billionth of a second. One of
them asked for the wire of a whole second. I told her she'd need a bigger garden.

Friends, I'm tired in the good way. Come by on Sunday; there will be soup.
""",
        ),
        Draft(
            21,
            PRIVATE,
            "What I did not say at the ceremony",
            ("journaling", "boundaries"),
            """
They thanked me for my patience. I've never been patient; I've only been stubborn at a
polite speed. I'd like to stop soon, and I don't know yet how one does that.
""",
        ),
        Draft(
            75,
            PUBLIC,
            "A moth, taped to the page",
            ("work", "joy"),
            """
We found it between two contacts, and I taped it into the log book. People laugh at the story,
but look at what it says: *someone wrote down exactly what was wrong*. That's the whole craft.
""",
        ),
    ),
    permissions=frozenset({MANAGE_TAGS}),
)

ALAN = Founder(
    auth0_sub="auth0|alan",
    email="alan@example.com",
    name="Alan Turing",
    bio="Long-distance runner. I think about machines, and about why sunflowers count as they do.",
    journaling_frequency=3,
    themes=(2, 10, 1),
    tags=("running", "mathematics", "curiosity", "plants", "nature"),
    habits=(
        ("Run along the canal", "custom", '{"days": ["tue", "thu", "sat"], "km": 16.1}'),
        ("Solve a puzzle", "daily", '{"minutes": 15, "time": "breakfast"}'),
    ),
    garden=("Sunflower spirals", "wildflower"),
    stories=(
        Draft(
            3,
            PUBLIC,
            "Thirty-four one way, fifty-five the other",
            ("plants", "mathematics", "nature"),
            """
I counted the spirals of every sunflower behind the shed. Thirty-four one way and fifty-five the
other, again and again, except for one that had been trodden on as a seedling and now counts
like nobody else.

I like that one best.
""",
        ),
        Draft(
            12,
            FRIENDS,
            "On being asked whether it thinks",
            ("curiosity", "friendship"),
            """
The question isn't whether a machine thinks. The question is whether we'd be kind to it while we
were finding out. I'd rather discuss this on a walk than in a letter.
""",
        ),
        Draft(
            30,
            PRIVATE,
            "A page without a cipher",
            ("courage", "healing"),
            """
It's odd to write plainly. Some days the only person I hide from is the one who reads this
notebook, and that's me.
""",
        ),
        Draft(
            200,
            PUBLIC,
            "Two hours, forty-six minutes",
            ("running", "strength"),
            """
The marathon is a fair machine: it returns exactly what was put in, some months late.

1. start slower than you'd like
2. think about something else
3. don't think at all
""",
        ),
    ),
)

KATHERINE = Founder(
    auth0_sub="auth0|katherine",
    email="katherine@example.com",
    name="Katherine Johnson",
    bio="I count everything: steps, stars, dishes. Church choir, alto.",
    journaling_frequency=6,
    themes=(11, 5, 10),
    tags=("mathematics", "singing", "family", "gratitude", "community"),
    habits=(
        ("Count the steps to church", "weekly", '{"steps": 1243, "day": "sunday"}'),
        ("Sing in the choir", "weekly", '{"day": "wednesday", "voice": "alto"}'),
        ("Check it by hand", "daily", '{"minutes": 10}'),
    ),
    garden=("Re-entry", "orchard"),
    stories=(
        Draft(
            4,
            PUBLIC,
            "Check it by hand",
            ("mathematics", "work", "courage"),
            """
The machine gave its numbers, and they asked me to go over them. I said what I say to my girls
at the kitchen table: *write every step down, so that the next person needn't believe you.*
""",
        ),
        Draft(
            18,
            FRIENDS,
            "Sunday, after the singing",
            ("singing", "family", "joy"),
            """
All three daughters at one table, and the pie didn't even reach the second round. I counted the
laughter too, but lost the number somewhere past a hundred.
""",
        ),
        Draft(
            60,
            PRIVATE,
            "The walk across the campus",
            ("journaling", "boundaries"),
            """
Half a mile there and half a mile back. I'm writing it down because nobody else was counting.
""",
        ),
    ),
)

EMMY = Founder(
    auth0_sub="auth0|emmy",
    email="emmy@example.com",
    name="Emmy Noether",
    bio="What stays the same while everything moves? Puddings, long walks, longer arguments.",
    journaling_frequency=2,
    themes=(10, 2, 3),
    tags=("mathematics", "walking", "baking", "learning"),
    habits=(
        ("Walk and argue", "daily", '{"minutes": 90, "with": ["students", "anyone"]}'),
        ("Bake a pudding", "weekly", '{"day": "saturday"}'),
    ),
    garden=("Invariants", "zen"),
    stories=(
        Draft(
            5,
            PUBLIC,
            "Whatever you can move, something keeps",
            ("mathematics", "patience", "growth"),
            """
We moved house, the chairs, the lamp, the time of supper. And still something was kept: the
same three people arguing until the candle was gone.

For every way of moving there's a thing that stays. I find that consoling.
""",
        ),
        Draft(
            25,
            FRIENDS,
            "The dish that fell",
            ("baking", "joy"),
            """
The pudding slid from the table while I was explaining ideals, and I went on explaining them
from the floor. It's now called the Noetherian pudding: it goes down and then it stops.
""",
        ),
        Draft(
            90,
            PRIVATE,
            "Lectures under another name",
            ("journaling", "work"),
            """
Four years of lectures announced under his name and given by me. I'm not bitter. I'm keeping
count.
""",
        ),
    ),
)

SRINIVASA = Founder(
    auth0_sub="auth0|srinivasa",
    email="srinivasa@example.com",
    name="Srinivasa Rāmānujan — ராமானுஜன்",
    bio="Numbers are my neighbours. Far from home and short of good sambar.",
    journaling_frequency=1,
    themes=(10, 3, 0),
    tags=("mathematics", "cooking", "meditation", "family"),
    habits=(("Notebook before dawn", "daily", '{"minutes": 60, "slate": true}'),),
    garden=None,
    stories=(
        Draft(
            8,
            PUBLIC,
            "The number of the taxi",
            ("mathematics", "joy", "friendship"),
            """
My visitor said that his taxi had a dull number. I was in bed with a fever and could not let
that pass: it's the smallest that is the sum of two cubes in *two* ways.

No number is dull. Some have merely not been introduced.
""",
        ),
        Draft(
            33,
            FRIENDS,
            "Letter about rice and rain",
            ("cooking", "family"),
            """
It rains as at home, but colder and with less conviction. I cooked for six and we were two.
""",
        ),
    ),
)

SOFIA = Founder(
    auth0_sub="auth0|sofia",
    email="sofia@example.com",
    name="Софья Ковалевская",
    bio="Mathematician and novelist. My nursery was papered with lectures on calculus.",
    journaling_frequency=4,
    themes=(4, 10, 5),
    tags=("poetry", "books", "mathematics", "childhood"),
    habits=(
        ("Write a page of the novel", "daily", '{"time": "evening", "words": 300}'),
        ("Read a poem", "daily", '{"time": "morning", "language": "ru"}'),
    ),
    garden=("Сад в Палибино", "woodland"),
    stories=(
        Draft(
            7,
            PUBLIC,
            "The wallpaper of my childhood",
            ("childhood", "mathematics", "curiosity"),
            """
There wasn't enough wallpaper, so the nursery was covered with old lecture notes. I stood before
them for hours, looking for the order of the pages.

It's impossible to be a mathematician without being a poet in one's soul.
""",
        ),
        Draft(
            50,
            PRIVATE,
            "Черновик",
            ("poetry", "grief"),
            """
Говори, что знаешь; делай, что обязан; будь, чему быть.

I wrote it on the first page and have been arguing with it ever since.
""",
        ),
    ),
)

CHIEN_SHIUNG = Founder(
    auth0_sub="auth0|chien-shiung",
    email="chien-shiung@example.com",
    name="吳健雄 Chien-Shiung Wu",
    bio="Experiments, very cold ones. Run with courage.",
    journaling_frequency=0,
    themes=(13, 10, 6),
    tags=("courage", "focus", "curiosity", "parenting"),
    habits=(("Measure it twice", "daily", '{"minutes": 30, "kelvin": 0.01}'),),
    garden=("明德", "moss"),
    stories=(
        Draft(
            11,
            PUBLIC,
            "The mirror was wrong",
            ("curiosity", "courage", "focus"),
            """
Everybody knew that left and right were the same. We cooled the cobalt, waited through Christmas,
and asked it anyway. It answered with its left hand.
""",
        ),
        Draft(
            140,
            FRIENDS,
            "Qipao in the laboratory",
            ("work", "self care"),
            """
I wear what I like under the lab coat. It's a small experiment, repeated daily, with a robust
result.
""",
        ),
    ),
)

FOUNDERS = (ADA, GRACE, ALAN, KATHERINE, EMMY, SRINIVASA, SOFIA, CHIEN_SHIUNG)

FRIENDSHIPS = (
    (ADA, GRACE, True),
    (ALAN, ADA, False),
    (KATHERINE, ADA, True),
    (GRACE, ALAN, True),
    (EMMY, ADA, False),
    (SOFIA, EMMY, True),
    (SRINIVASA, ALAN, True),
    (KATHERINE, CHIEN_SHIUNG, True),
    (CHIEN_SHIUNG, GRACE, False),
    (ADA, SOFIA, False),
)
"""Requester, addressee, and whether it was accepted."""


def permissions_of(sub: str) -> frozenset[str]:
    """Return what ``sub`` may do beyond their own: a seeded person, or a program (``@clients``).

    Grace moderates (``manage:tags``), programs write features and matches. Permissions come from
    the identity provider and aren't in the database: the development issuer puts these into its
    tokens.
    """
    if sub.endswith("@clients"):
        return frozenset({WRITE_FEATURES, WRITE_MATCHES})
    return next((f.permissions for f in FOUNDERS if f.auth0_sub == sub), frozenset())
