"""Writes recipes/text/tiny_train.txt and tiny_held_out.txt: short stories for the smallest of models, in words of one kind and sentences of many.

    python tests/oracle/make_tiny_stories.py recipes/text

Every sentence was written for Attar; the program deals them, with names and things drawn by a fixed seed. No held-out story shares 13 words in a row
with a training story, which is what a run would drop it for.
"""

import pathlib
import random
import re
import sys

SEED, TRAIN, HELD_OUT, SHARED_WORDS = 11, 210, 30, 13

GIRLS, BOYS = ["Anna", "Lily", "Mia", "Sara", "Nora", "Rose"], ["Tom", "Ben", "Max", "Sam", "Leo", "Finn"]
ANIMALS = ["dog", "cat", "duck", "bird", "rabbit", "mouse", "frog", "fox", "bear", "goat"]
COLOURS = ["red", "blue", "green", "yellow", "brown", "white"]
THINGS = ["ball", "hat", "kite", "boat", "book", "cup", "bell", "key", "box", "drum"]
PLACES = ["park", "garden", "forest", "yard", "field", "meadow"]
FOODS = ["cake", "bread", "soup", "pie", "honey", "milk"]
HIDING = ["under the bed", "behind the door", "in the tall grass", "under an old tree", "near the pond", "on top of the wall"]
MOODS = ["kind", "brave", "small", "funny", "clever", "quiet"]

ENDINGS = [
    ["They went home and told Mom all about it.", "Mom smiled and gave them some warm {food}.", "It was a very good day."],
    ["From that day on, {a} and {b} were best friends.", "They played together every day."],
    ["{a} was very happy.", "That night {he} slept well and had a sweet dream."],
    ['{b} said, "Thank you, {a}."', '{a} said, "You are welcome."', "And they both smiled."],
    ["{a} learned that it is good to help a friend.", "{He} never forgot it."],
    ["They sat in the sun and ate {food}.", "Then they sang a little song and went home."],
]

# A plot is a list of steps, a step a list of ways to tell it.
OPENINGS = [
    [
        "Once upon a time, there was a {mood} {kind} named {a}.",
        "There was once a {kind} named {a}. {He} was very {mood}.",
        "One day, a {mood} {kind} named {a} went to the {place}.",
    ],
    [
        "{a} liked to play in the {place}.",
        "Every day {he} went to the {place} to play.",
        "{He} loved the {place} more than any other place.",
        "The sun was warm and the sky was blue.",
    ],
]
PLOTS = [
    [  # a thing is lost and found
        ["{a} had a {colour} {thing}. {He} took it everywhere.", "Dad gave {him} a {colour} {thing}. {a} loved it very much.", "{His} best toy was a {colour} {thing}."],
        ["But one day the {thing} was gone.", "One morning {a} could not find the {thing}.", "Then the wind came, and the {thing} was lost."],
        ["{a} looked in the house, but it was not there.", "{He} was sad and began to cry.", '"Where is my {thing}?" {he} asked.'],
        ['{b} the {animal} heard {him}. "I will help you," {b} said.', 'A {animal} named {b} came by. "Do not cry," said {b}. "Let us look for it."'],
        ["They looked and looked.", "They looked in the {place} and by the road.", "First they looked high, and then they looked low."],
        ["At last they saw something {colour} {hiding}.", "Then {b} saw the {thing} {hiding}!", "The {thing} was {hiding} all the time."],
        ['"You found it!" said {a}. {He} gave {b} a big hug.', "{a} laughed and jumped up and down.", "{a} was so glad that {he} danced."],
    ],
    [  # sharing food
        ["{a} made some {food} with Mom.", "Grandma gave {a} a big piece of {food}.", "{a} wanted to eat {food} in the {place}."],
        ["It smelled very good.", "It was still warm.", "{He} put it in a {colour} box."],
        ["On the way {he} met a {animal} named {b}.", "A {animal} sat by the road. Its name was {b}.", "There {he} saw {b}, a little {animal}."],
        ['{b} looked sad. "I am so hungry," said {b}.', '"I have no food today," said {b}.'],
        ["{a} wanted to eat all of the {food}.", "{a} thought about it for a while.", "At first {a} did not want to share."],
        ['But then {he} felt sorry for {b}. "Here, take half," {he} said.', 'Then {he} cut the {food} in two. "This is for you," said {a}.'],
        ["They ate it all, and it was good.", "The {food} was even better with a friend.", "{b} ate and ate and was happy again."],
    ],
    [  # afraid, then brave
        ["{a} was afraid of the dark.", "{a} was afraid of the deep water.", "{a} did not like loud noises.", "{a} was afraid to climb the big tree."],
        ["All {his} friends laughed, but {b} did not.", "{He} did not tell anyone but {b}, a {colour} {animal}."],
        ['"I was afraid too," said {b}. "Come with me."', '"It is not so bad," said {b} the {animal}. "You can hold on to me."'],
        ["{a} took a big breath and closed {his} eyes.", "{a} held {b} very close.", "Step by step they went on."],
        ["Then {he} opened {his} eyes and looked around.", "Soon {he} was not afraid any more."],
        ['"I did it!" said {a}.', '"Look at me!" {he} called. "I am brave!"', "{b} was proud of {him}."],
    ],
    [  # someone is stuck
        ["One day {a} heard a cry.", "{a} was walking home when {he} heard a small voice.", "It was raining, and {a} heard a noise."],
        ['"Help! Help!" someone called.', '"Please help me!" said the voice.', "It came from the {place}."],
        ["It was {b}, a {colour} {animal}, who was stuck {hiding}.", "{b} the {animal} was {hiding} and could not get out."],
        ["{a} pulled and pulled, but {b} did not move.", "{a} tried to help, but {he} was too small."],
        ["So {he} ran to get Dad.", "Then {a} had an idea. {He} took a long stick.", "{He} called all {his} friends to come and pull."],
        ["One, two, three, and {b} was free!", "They pulled one more time, and {b} was out.", "At last {b} was free again."],
    ],
    [  # making a friend
        ["{a} had no one to play with.", "{a} wanted a friend.", "{a} felt alone in the big {place}."],
        ["{He} had a {colour} {thing}, but it is no fun to play alone.", "{He} played with {his} {thing} all by {himself}."],
        ["Then a {animal} came to the {place}.", "One day {he} saw a {animal} {hiding}.", "A little {animal} looked at {him}."],
        ['"Hello, my name is {b}," said the {animal}.', '"What is your name?" asked {a}. "I am {b}," said the {animal}.'],
        ['"Can I play with your {thing}?" asked {b}.', '"Do you want to play with me?" asked {a}.', '"I like your {thing}," said {b}.'],
        ['"Yes, let us play!" said {a}.', "{a} smiled and said yes.", '"Yes!" they said, and they laughed.'],
        ["They ran and jumped until the sun went down.", "They played with the {thing} all day long.", "They threw the {thing} up to the sky."],
    ],
    [  # a broken thing
        ["{b} had a new {thing}. It was {colour} and very pretty.", "{b} the {animal} showed {a} a {colour} {thing}."],
        ['"Be careful," said {b}.', '"You can play with it, but do not break it," said {b}.'],
        ["But {a} ran too fast and fell.", "{a} threw it too high.", "{a} did not look where {he} was going."],
        ["Crash! The {thing} broke.", "The {thing} fell down and broke in two.", "Oh no! Now the {thing} was broken."],
        ["{a} wanted to hide it {hiding}.", "{a} was afraid that {b} would be angry."],
        ['But {he} told the truth. "I am sorry," {he} said.', '"I broke your {thing}," said {a}. "I am very sorry."'],
        ['{b} was sad, but not angry. "We can fix it," {b} said.', '"Thank you for telling me," said {b}.'],
        ["They fixed the {thing} together, and it was as good as new.", "They used some string, and soon the {thing} was fine again."],
    ],
    [  # growing something
        ["Grandpa gave {a} a little seed.", "{a} found a seed {hiding}.", "In spring {a} put a seed in the ground."],
        ["{He} gave it water every day.", '"You must give it water," said {b} the {animal}.', "{a} and {b} the {animal} watched over it."],
        ["For a long time nothing happened.", "Many days went by, and nothing came up.", '"Why does it not grow?" asked {a}.'],
        ['"You have to wait," said {b}.', '"Good things take time," said Mom.'],
        ["Then one morning there was a small green leaf.", "One day {he} saw something green in the {place}."],
        ["It grew and grew, and soon it was as big as {a}.", "It grew into a tall {colour} flower.", "The flower was {colour}, and everyone came to see it."],
    ],
]


def story(draw):
    boy = draw.random() < 0.5
    a = draw.choice(BOYS if boy else GIRLS)
    words = {
        "a": a,
        "b": draw.choice([name for name in GIRLS + BOYS if name != a]),
        "he": "he" if boy else "she",
        "him": "him" if boy else "her",
        "his": "his" if boy else "her",
        "himself": "himself" if boy else "herself",
        "kind": "boy" if boy else "girl",
        "mood": draw.choice(MOODS),
        "animal": draw.choice(ANIMALS),
        "colour": draw.choice(COLOURS),
        "thing": draw.choice(THINGS),
        "place": draw.choice(PLACES),
        "food": draw.choice(FOODS),
        "hiding": draw.choice(HIDING),
    }
    words |= {"He": words["he"].capitalize(), "His": words["his"].capitalize()}
    paragraphs = [[draw.choice(step) for step in OPENINGS], [draw.choice(step) for step in draw.choice(PLOTS)], draw.choice(ENDINGS)]
    return "\n\n".join(" ".join(sentences) for sentences in paragraphs).format_map(words)


def runs(text):
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + SHARED_WORDS]) for i in range(len(words) - SHARED_WORDS + 1)}


def main(folder):
    draw = random.Random(SEED)
    train = [story(draw) for _ in range(TRAIN)]
    known, held_out = set().union(*map(runs, train)), []
    while len(held_out) < HELD_OUT:
        if not runs(one := story(draw)) & known:
            held_out.append(one)
    for name, stories in {"tiny_train.txt": train, "tiny_held_out.txt": held_out}.items():
        (folder / name).write_text("\n<|endoftext|>\n".join(stories) + "\n", encoding="utf-8")


main(pathlib.Path(sys.argv[1]))
