PROMPT = "Enter the new password: "
def ask():
    print("Do not share your password with anyone.")
    return input(PROMPT)
