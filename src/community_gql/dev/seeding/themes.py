"""What the seeded people write about: sixteen themes, with their tags and sentences.

A person cares for a few themes, and their tags, stories, habits and feature vector (one number per
theme) follow, so that matches and shared tags make sense together. Sentences hold slots
(``{place}``, ``{when}``, ``{who}``, ``{n}``), which are filled in once, here: to write a story is
then to choose among finished sentences, which is what makes a million cheap.
"""

from __future__ import annotations

from dataclasses import dataclass


def lines(text: str) -> tuple[str, ...]:
    """Return the lines of ``text``, stripped."""
    return tuple(line.strip() for line in text.strip().splitlines())


def listed(text: str) -> tuple[str, ...]:
    """Return the parts of ``text`` between commas, each with single spaces."""
    return tuple(" ".join(item.split()) for item in text.split(","))


_SLOTS = {
    "{place}": listed(
        "by the kitchen window, on the balcony, at the bus stop, in the park behind the station,"
        "in my grandmother's chair, on the stairs outside, at the long table, beside the river,"
        "under the old walnut tree, in the empty office"
    ),
    "{when}": listed(
        "before sunrise, after the rain, on the way home, once the house was quiet, at lunch,"
        "late on Sunday, between two meetings, on the coldest day of the year, just after dinner,"
        "while the kettle boiled"
    ),
    "{who}": listed(
        "my sister, an old neighbour, my grandfather, a stranger on the train, my daughter,"
        "Mira from downstairs, a colleague, my oldest friend, the woman at the bakery, my teacher"
    ),
    "{n}": listed("three, five, seven, ten, twelve, fifteen, twenty, thirty, forty, a hundred"),
}


def _variants(template: str) -> tuple[str, ...]:
    """Return the template once per filling of its first slot; other slots follow at an offset."""
    found = []
    for turn in range(10):
        text = template
        for offset, (slot, fillings) in enumerate(_SLOTS.items()):
            text = text.replace(slot, fillings[(turn + 3 * offset) % len(fillings)])
        found.append(text)
    return tuple(dict.fromkeys(found))


def fillings(text: str) -> tuple[tuple[str, ...], ...]:
    """Return each line of ``text`` in all its fillings."""
    return tuple(_variants(line) for line in lines(text))


@dataclass(frozen=True, slots=True)
class Theme:
    """What people write about: four tags, subjects for titles, sentences in all fillings."""

    tags: tuple[str, ...]
    subjects: tuple[str, ...]
    sentences: tuple[tuple[str, ...], ...]


def _theme(tags: str, subjects: str, text: str) -> Theme:
    return Theme(listed(tags), listed(subjects), fillings(text))


THEMES = (
    _theme(
        "meditation, mindfulness, breathing, stillness",
        "ten quiet minutes, the morning sit, counting breaths, doing nothing, the restless mind,"
        "silence",
        """
        I sat {place} and counted breaths until I lost the number, then began again at one.
        For {n} minutes nothing happened, and that was the point.
        My mind wandered to the shopping list, to an old argument, and back to the breath.
        The bell rang {when} and I noticed that my shoulders had come down on their own.
        I told {who} that meditation isn't emptying the mind but being kind to a full one.
        Some days the stillness arrives by itself; today I had to leave the door open for it.
        Following a single breath to its end is harder than it sounds, and more interesting.
        """,
    ),
    _theme(
        "gardening, plants, seasons, compost",
        "the tomato seedlings, a small garden, the first frost, the compost heap, my balcony boxes,"
        "waiting for the beans",
        """
        The seedlings {place} have their first true leaves, and I check on them like a new parent.
        I planted {n} bulbs {when} and already forgot where half of them are.
        Compost is the most hopeful thing I know: everything that failed comes back as soil.
        The frost took the basil overnight, but the kale looks as if it had been waiting for it.
        I learned from {who} to water deeply and seldom, and to leave the leaves where they fall.
        Slugs ate the lettuce, so this year the slugs and I have lettuce in common.
        Pruning the roses felt like an argument with a friend: honest, careful, and good for both.
        """,
    ),
    _theme(
        "running, movement, strength, walking",
        "the long way round, my first ten kilometres, running in the rain, a stiff knee,"
        "the hill behind the school, walking instead",
        """
        I ran {n} minutes {when}, slowly enough to talk, and nobody was there to talk to.
        The hill that used to stop me is now only the place where I breathe through my nose.
        My knee complained, so I walked, and found that walking shows you twice as much.
        I met {who} on the path and we finished the round together without saying much.
        Strength came back quietly: one day the shopping bags were simply lighter.
        I keep my shoes {place}, because seeing them is half of going.
        The last kilometre was all stubbornness, and the shower after it was all joy.
        """,
    ),
    _theme(
        "cooking, baking, nutrition, slow food",
        "sourdough, the soup that simmers all day, a burnt pie, cooking for one,"
        "grandmother's dumplings, bread",
        """
        The dough rose {place} while I did something else, which is the best kind of cooking.
        I peeled {n} apples {when} and the whole house smelled of cinnamon.
        There is no recipe, said my grandmother, only tasting, and more tasting.
        I cooked lentils for {who}, and we ate them straight from the pot.
        The crust burnt and the middle didn't, and we laughed and ate it anyway.
        Eating slowly changed more for me than any list of foods I should avoid.
        A soup that takes all day asks for nothing but that you stay near it.
        """,
    ),
    _theme(
        "reading, books, poetry, libraries",
        "a borrowed novel, the library on Tuesdays, a poem by heart, unread shelves,"
        "reading aloud, the last chapter",
        """
        I read {n} pages {place} and only looked up because the light had gone.
        The library was nearly empty {when}, and the heating ticked like a patient clock.
        A poem learned by heart is something that nobody can borrow and not return.
        I lent my favourite book to {who}, and got it back with a pressed flower inside.
        I used to count the books I finished; now I count the ones I didn't want to end.
        Reading aloud makes even a difficult page walk at the pace of a voice.
        The shelf of unread books is not a reproach, it's a garden I haven't visited yet.
        """,
    ),
    _theme(
        "family, parenting, grandparents, childhood",
        "the family table, bedtime questions, grandfather's letters, a photograph from 1962,"
        "my mother's hands, growing up between two languages",
        """
        At bedtime I was asked {n} questions, and the last one was where yesterday goes.
        We looked through the old photographs {when} and argued about whose nose that is.
        My mother's hands do the same small movement that mine do when I'm thinking.
        I called {who} for no reason, and that turned out to be the best reason.
        Parenting is mostly repeating yourself gently, until one day it was heard.
        We all squeezed {place} and nobody wanted to be the first to leave.
        What I remember of childhood isn't what happened but how the light fell.
        """,
    ),
    _theme(
        "work, focus, burnout, boundaries",
        "saying no, an afternoon without meetings, the empty inbox, after the burnout,"
        "one thing at a time, closing the laptop",
        """
        I closed the laptop {when} and the world didn't end.
        One task, one cup of tea, {n} minutes: it's a small contract, but I keep it.
        After the burnout I learned to notice the tiredness that comes before the tiredness.
        I said no to {who}, kindly, and my voice only shook a little.
        Boundaries aren't walls, they're doors that I'm the one to open.
        I worked {place} with the phone in another room, and found an afternoon I'd lost.
        Being busy had become the way I avoided asking what the work was for.
        """,
    ),
    _theme(
        "nature, hiking, birds, the sea",
        "the heron, a path through beeches, low tide, the first swallows, fog on the ridge,"
        "swimming in October",
        """
        A heron stood {place} so still that I apologised for walking.
        We climbed for {n} minutes through fog, and then stood suddenly above it.
        The swallows came back {when}, and I was happier about it than the news deserved.
        At low tide the beach was twice as wide and there was nobody on either half.
        I showed {who} how to tell a chaffinch by its song, and got it wrong.
        The sea was cold enough to end all my thoughts at once, which was what I came for.
        Under the beeches the light is green and slow, as though the air had thickened.
        """,
    ),
    _theme(
        "creativity, painting, crafts, photography",
        "a bad drawing, the blue hour, mending a jumper, the blank page, watercolour,"
        "a photograph a day",
        """
        I drew the same cup {n} times, and by the end I could see it.
        The watercolour ran where I hadn't planned, and that corner is the best of it.
        I mended the jumper {place} with a thread of the wrong colour, on purpose.
        I photographed the street {when}, when the lamps and the sky are equally bright.
        Making something badly turns out to be far more fun than not making it well.
        I showed the sketchbook to {who}, and nobody laughed, least of all me.
        The blank page is only frightening until the first mistake is on it.
        """,
    ),
    _theme(
        "sleep, rest, evenings, mornings",
        "going to bed early, a slow morning, the afternoon nap, insomnia, no screens after nine,"
        "the hour before anyone wakes",
        """
        I put the phone {place} and slept as I hadn't in weeks.
        I woke {when} and lay there listening to the house being quiet.
        Rest isn't the reward for the work; it's the ground the work stands on.
        For {n} nights now I've turned the lights down early, and the mornings have noticed.
        I asked {who} how they fall asleep so easily, and they said: I stop trying.
        The nap was short, and I woke up with the answer I'd been looking for all week.
        The first hour of the morning belongs to me, and I no longer lend it out.
        """,
    ),
    _theme(
        "learning, languages, curiosity, mathematics",
        "irregular verbs, being a beginner again, a proof, learning to draw maps,"
        "asking silly questions, the night class",
        """
        I learned {n} words today and forgot about half of them, which is how it works.
        Being a beginner again is embarrassing in exactly the way that keeps one young.
        I practised on {who}, whose patience deserves an article of its own.
        The proof fitted on one line {when}, after four pages of going round it.
        I wrote the irregular verbs on cards and left them {place}.
        A silly question saved the class an hour, and I was the one who asked it.
        Curiosity doesn't shout; it's a small pull on the sleeve that I'm learning to follow.
        """,
    ),
    _theme(
        "music, singing, piano, listening",
        "the slow movement, choir practice, an old record, the left hand alone, humming,"
        "a concert in the rain",
        """
        I played the left hand alone for {n} minutes, until it stopped being an accompaniment.
        In the choir I stand next to {who}, and we both come in a little early, out of joy.
        The old record skips at the same place it did when I was eight.
        I hummed {place} and someone hummed the second voice.
        Listening to the whole piece {when}, without doing anything else, felt like a holiday.
        A wrong note played with conviction is called jazz, says my teacher, kindly.
        Between the last chord and the applause there's a silence that I go there for.
        """,
    ),
    _theme(
        "growth, habits, goals, patience",
        "one percent better, a broken streak, small steps, the year in review,"
        "starting over, patience",
        """
        I broke the streak after {n} days, and began again the next morning without ceremony.
        Growth looked like nothing for months, and then like something I'd always had.
        I wrote the goal on a card {place}, and then a smaller one that I could do today.
        Habits are votes, I read, and today I voted {when} and only half asleep.
        I told {who} what I was trying to do, which made it real and slightly frightening.
        Patience isn't waiting; it's what I do while I'm waiting.
        I looked back over the year and saw that the slow parts had carried me.
        """,
    ),
    _theme(
        "grief, healing, recovery, courage",
        "the empty chair, a hundred days sober, the first birthday without her,"
        "physiotherapy, asking for help, the scar",
        """
        It has been {n} months, and I still set out one cup too many.
        Grief came {when}, unannounced as ever, and this time I made it some tea.
        The physiotherapist says that healing isn't a line but a scribble that goes up.
        I finally told {who}, and the sky stayed where it was.
        I sat {place} and cried, and afterwards noticed that the birds hadn't stopped.
        Asking for help was the heaviest thing I lifted this year.
        Courage, it turns out, feels exactly like being afraid, but with shoes on.
        """,
    ),
    _theme(
        "friendship, community, kindness, volunteering",
        "the repair café, a long phone call, the neighbours' stairs, a small kindness,"
        "soup kitchen on Thursdays, old friends",
        """
        We carried {n} chairs up the stairs and stayed for the soup.
        I spoke on the phone with {who} until the battery gave up before we did.
        At the repair café someone mended my lamp {when} and wouldn't take anything for it.
        A note in the letterbox said thank you, without a name, and made my week.
        Old friends continue sentences that were begun in another decade.
        We met {place} as strangers and left with each other's jackets.
        Kindness is quick: it was over before I'd thought of a reason against it.
        """,
    ),
    _theme(
        "gratitude, journaling, self care, joy",
        "three good things, the journal on my pillow, an ordinary Tuesday, letters to myself,"
        "a day off, tiny joys",
        """
        I wrote down {n} good things, and the last of them was the pen.
        Today's joy: an orange eaten {place}, with the peel in one piece.
        I opened last year's journal {when} and wanted to tell its author that it turns out well.
        I'm grateful for {who}, and today I said so, out loud.
        Self care was, for once, not a bath but answering the letter I'd been afraid of.
        An ordinary Tuesday is what I'd wish for, if someone granted wishes.
        Writing it down doesn't change the day, but it changes who's carrying it.
        """,
    ),
)

TAGS = tuple(tag for theme in THEMES for tag in theme.tags)
"""The common tags, folded as the API folds them; four to a theme, in the themes' order."""
