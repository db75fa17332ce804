"""The words of the seeded community beside its themes: titles, openings, biographies, habits."""

from __future__ import annotations

from community_gql.dev.seeding.themes import fillings, lines, listed

TITLES = lines("""
    What {} taught me
    Notes on {}
    On {}
    {}, again
    Coming back to {}
    A letter about {}
    Why I stopped worrying about {}
    Small thoughts on {}
    {} and other beginnings
    In praise of {}
    Learning from {}
    Still here: {}
    A week of {}
    {}, and what came after
    Something about {}
    The trouble with {}
""")
"""Titles of stories, with the place of the subject."""

OPENINGS = fillings("""
    It rained all morning and I finally had time to write.
    I've been meaning to write this down since last spring.
    For {n} days I've been paying attention, and it shows.
    It's been {n} weeks, and I'm still surprised by how small the first step was.
    Somebody asked me recently why I keep doing this.
    I almost didn't write today.
    This began with a remark by {who}, who has probably forgotten it.
    Nothing much happened today, and I want to remember it.
    I'm writing this {place}, with a pencil, because the battery is empty.
    A confession first: I had given up on this {when}, and said so.
""")

CLOSINGS = fillings("""
    That's all for today.
    I'll try again tomorrow, {when}.
    If you know this feeling, write to me.
    Small steps, but they're mine.
    I don't have a conclusion, only a cup of tea going cold.
    Next time I'll bring {who} along.
    Perhaps that's enough.
    I'll come back to this page in {n} days and see what I think then.
    What about you?
    More soon, from the usual seat {place}.
""")

HEADINGS = lines("""
    What worked
    What I noticed
    Tomorrow
    Things to keep
    For next time
    An honest list
""")

LIST_ITEMS = fillings("""
    start smaller than you'd like
    **write it down**, even one line
    leave the phone {place}
    tell {who} about it
    {n} minutes are enough
    begin {when}, not later
    *forgive* the missed days
    notice what was already there
""")

BIOS_WHO = lines("""
    Nurse
    Retired ferry captain
    Teacher of six-year-olds
    Carpenter
    Night-shift baker
    Physics student
    Mother of three
    Father of twins
    Gardener
    Translator
    Software engineer
    Bus driver
    Violin maker
    Beekeeper
    Social worker
    Architect
    Postman
    Biologist
    Cook
    Librarian
    Grandmother
    Engineer on parental leave
    Recovering perfectionist
    Cellist
""")

BIOS_WHERE = lines("""
    in Lisbon
    on the west coast of Ireland
    in Lagos
    in a small town near Kraków
    in São Paulo
    in Kyoto
    in Hà Nội
    at the edge of Chennai
    in Mexico City
    in Tromsø
    between Zürich and İzmir
    in Cape Town
    in Montréal
    near the sea
    in the flat above the bakery
    in Yerevan
""")

BIOS_WHY = fillings("""
    I write to find out what I think.
    Here for the quiet stories.
    Trying to keep one small promise a day.
    Ask me about {n} kinds of moss.
    Slowly learning to rest.
    I collect ordinary days.
    Still not good at mornings.
    Happiest outdoors, {when}.
    My best thoughts happen {place}.
    Beginner at nearly everything, and glad of it.
""")

GARDEN_NAMES = lines("""
    {}'s garden
    {}'s quiet corner
    My growth garden
    The walled garden
    Where the fig tree stands
    Slow orchard
    The garden of small hours
    Moss and patience
    A balcony in the sun
    Second spring
    The long meadow
    Café des herbes
    Onder de appelboom
    小さな庭
    Salt and lavender
    Under the stairs, with ferns
""")
"""Names of gardens; ``{}`` is the given name."""

GARDEN_THEMES = listed(
    "zen, vineyard, cottage, woodland, desert, herb, orchard, wildflower, moss, rooftop, tropical,"
    "kitchen"
)

HABITS = (
    ("Meditate", "daily", '{"minutes": 10, "time": "morning"}'),
    ("Meditate before bed", "daily", '{"minutes": 15, "time": "evening", "app": false}'),
    ("Sit in silence", "weekly", '{"minutes": 40, "day": "sunday"}'),
    ("Write three lines", "daily", '{"time": "evening", "lines": 3}'),
    ("Morning pages", "daily", '{"pages": 3, "time": "morning", "medium": "paper"}'),
    (
        "Weekly review",
        "weekly",
        '{"day": "friday", "questions": ["what went well?", "what next?"]}',
    ),
    ("Run", "custom", '{"days": ["tue", "thu", "sat"], "km": 5}'),
    ("Long run", "weekly", '{"km": 12.5, "day": "sunday"}'),
    ("Walk without phone", "daily", '{"minutes": 30}'),
    ("Stretch", "daily", '{"minutes": 8, "time": "morning"}'),
    ("Swim", "weekly", '{"lengths": 40, "pool": "indoor"}'),
    ("Climb", "weekly", '{"grade": "6a", "partner": true}'),
    ("Yoga", "custom", '{"days": ["mon", "wed"], "minutes": 45}'),
    ("Read a chapter", "daily", '{"time": "evening", "pages": 20}'),
    ("Read a poem", "daily", '{"time": "morning"}'),
    ("Visit the library", "monthly", '{"books": 4}'),
    ("Water the plants", "custom", '{"every_days": 3}'),
    ("Turn the compost", "monthly", "{}"),
    ("Sow something", "monthly", '{"season": ["spring", "autumn"]}'),
    ("Bake bread", "weekly", '{"day": "saturday", "flour": {"rye": 0.3, "wheat": 0.7}}'),
    ("Cook from scratch", "custom", '{"times_a_week": 4}'),
    ("No sugar", "daily", '{"except": ["birthdays"]}'),
    ("Drink water", "daily", '{"glasses": 8}'),
    ("Practise piano", "daily", '{"minutes": 25, "piece": "Gymnopédie No. 1"}'),
    ("Sing in the choir", "weekly", '{"day": "wednesday"}'),
    ("Draw something", "daily", '{"minutes": 15, "medium": "ink"}'),
    ("One photograph", "daily", '{"camera": "phone"}'),
    ("Mend one thing", "monthly", "{}"),
    ("Learn ten words", "daily", '{"words": 10, "language": "pt"}'),
    ("Speak with my tandem", "weekly", '{"minutes": 60, "language": "日本語"}'),
    ("Solve a puzzle", "daily", '{"time": "lunch"}'),
    ("Call my parents", "weekly", '{"day": "sunday"}'),
    ("Dinner with friends", "monthly", '{"guests": 6}'),
    ("Volunteer at the kitchen", "weekly", '{"day": "thursday", "hours": 3}'),
    ("Write a letter", "monthly", '{"to": "someone far away"}'),
    ("In bed by ten", "daily", '{"time": "22:00"}'),
    ("No screens after nine", "daily", '{"time": "21:00", "strict": true}'),
    ("Afternoon nap", "custom", '{"minutes": 20}'),
    ("Three good things", "daily", '{"count": 3, "time": "evening"}'),
    ("Watch the birds", "weekly", '{"minutes": 30, "place": "harbour"}'),
    ("Go to the sea", "monthly", '{"swim": null}'),
    ("Look at the stars", "custom", '{"when": "clear nights"}'),
)
"""Habits as name, frequency and ``meta`` (JSON text)."""
