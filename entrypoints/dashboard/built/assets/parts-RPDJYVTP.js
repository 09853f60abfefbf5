//# allFunctionsCalledOnLoad
import{P as a,Q as b,R as c}from"./chunk-GEGW3PBN.js";import"./chunk-5GDQNQII.js";export{a as Activity,b as Invitations,c as NewProject};
