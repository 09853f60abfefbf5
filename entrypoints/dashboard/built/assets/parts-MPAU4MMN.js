//# allFunctionsCalledOnLoad
import{P as a,Q as b,R as c}from"./chunk-B4AJHNAN.js";import"./chunk-56LLG4KY.js";export{a as Activity,b as Invitations,c as NewProject};
